"""`supertile eval`: PSNR and SSIM of models on a folder of images, beside bicubic and published results."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .console import FAILED, errors_as_sentences, say, termination_cleans_up, warnings_once
from .display import progress_bar, show
from .options import (
    BaseWindow,
    Batch,
    Debug,
    Device,
    JsonFile,
    Mean,
    ModelFolder,
    Overlap,
    Overwrite,
    Precision,
    PrecisionOption,
    Quiet,
    SelfEnsemble,
    Tile,
    complete_model,
)

if TYPE_CHECKING:
    from ..analysis.evaluate import Method, Row
    from ..analysis.fidelity import Fidelity


class Benchmark(str, Enum):
    auto = "auto"
    none = "none"
    set5 = "Set5"
    set14 = "Set14"
    b100 = "B100"
    urban100 = "Urban100"
    manga109 = "Manga109"


def evaluate(
    large: Annotated[
        Path, typer.Argument(metavar="HR_FOLDER", help="Folder of ground-truth images (high resolution).")
    ],
    small: Annotated[
        Path | None,
        typer.Argument(
            metavar="LR_FOLDER",
            show_default=False,
            help="Folder of low-resolution images, matched by name (babyx4.png, baby_LR.png). Default: made from "
            "HR_FOLDER with MATLAB's bicubic.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=complete_model,
            help="Checkpoint or name; repeat for several. Default: supertile-4x.",
        ),
    ] = None,
    model_folder: ModelFolder = None,
    rgb: Annotated[bool, typer.Option("--rgb", help="Also show PSNR and SSIM on RGB.")] = False,
    benchmark: Annotated[
        Benchmark,
        typer.Option(help="Benchmark whose published results to show. auto: by the name and number of the images."),
    ] = Benchmark.auto,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the figures to FILE as CSV.")] = None,
    json: JsonFile = None,
    tile: Tile = "whole",
    overlap: Overlap = "auto",
    batch: Batch = "auto",
    precision: PrecisionOption = Precision.fp32,
    device: Device = "auto",
    self_ensemble: SelfEnsemble = False,
    mean: Mean = None,
    base_window: BaseWindow = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure PSNR and SSIM of models.

    As in papers, they are measured on Y in 8 bits, ignoring a border as wide as the scale, for each model and for
    bicubic, on each image and in the mean. Images are upscaled whole and in fp32 unless --tile or
    --precision is given.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        from ..analysis import tables
        from ..analysis.evaluate import Method
        from ..analysis.evaluate import evaluate as rows_of
        from ..analysis.pairs import large_images
        from ..analysis.published import benchmark_of
        from ..images.io.atomic import check_target
        from ..images.io.errors import ImageFileError
        from ..images.jobs import PlanError
        from ..inference.upscaler import Upscaler
        from ..weights.bundle import bundled_for
        from ..weights.errors import CheckpointError
        from ..weights.loader import inspect_checkpoint, load_model

        files = list(dict.fromkeys(models or [bundled_for(None)]))
        if csv is not None and csv == json:
            raise PlanError(f"{csv} cannot be both CSV and JSON; give two names.")
        for path in (csv, json):
            if path is not None:
                check_target(path, overwrite=overwrite, sources=[Path(file) for file in files])
                if not path.parent.is_dir():
                    raise ImageFileError(f"{path} cannot be written: the folder {path.parent} does not exist.")
        count = len(large_images(large))
        known = benchmark_of(large, count) if benchmark is Benchmark.auto else benchmark.value
        known = None if benchmark is Benchmark.none else known
        infos = {file: inspect_checkpoint(file, mean=mean, base_window=base_window) for file in files}
        scales = list(dict.fromkeys(info.scale for info in infos.values()))
        about: dict[str, dict[str, Any]] = {}
        unreadable: list[str] = []

        console = Console(stderr=True)
        with progress_bar(console, hidden=quiet) as progress, warnings_once(console):
            image_bar = progress.add_task("images", total=count * (len(files) + len(scales)))
            tiles = progress.add_task("tiles", total=None)

            def methods() -> Iterator[Method]:
                """One model in memory at a time."""
                yield from (Method.bicubic(scale) for scale in scales)
                for file, name in zip(files, _names(files), strict=True):
                    try:
                        upscaler = Upscaler(
                            load_model(file, mean=mean, base_window=base_window),
                            device=device,
                            precision=precision.value,
                            tile=tile,
                            overlap=overlap,
                            batch=batch,
                            self_ensemble=self_ensemble,
                            edges="network",  # as in published results
                        )
                    except CheckpointError as error:  # damaged weights, which the header does not reveal
                        say(console, str(error))
                        unreadable.append(file)
                        continue
                    info = infos[file]
                    about[name] = {"file": info.path, "network": info.variant, "parameters": info.parameters}
                    about[name] |= {"precision": str(upscaler.dtype), "device": str(upscaler.device)}
                    yield Method.of(
                        name, upscaler, lambda done, total: progress.update(tiles, completed=done, total=total)
                    )
                    del upscaler

            rows = []
            for row in rows_of(methods(), large, small):
                rows.append(row)
                progress.advance(image_bar)
                if row.error is not None:
                    say(console, row.error if row.method == "bicubic" else f"{row.method}: {row.error}")
        if not quiet:
            show(_figures(rows, rgb))
            if known is not None:
                for scale in scales:
                    show(_ranking(rows, known, scale))
        if csv is not None:
            _write(csv, tables.as_csv(rows), overwrite)
        if json is not None:
            facts = {"images": large, "smimage_bar": small, "self_ensemble": self_ensemble}
            _write(json, tables.as_json(rows, about, known, **facts), overwrite)
        failed = sum(row.error is not None for row in rows)
        if failed or unreadable:
            if failed:
                say(console, f"{failed} of {len(rows)} measurements failed; the means are over the others.")
            raise typer.Exit(FAILED)


def _names(files: list[str]) -> list[str]:
    """Return a name for each file: its stem, or its path where stems are not unique or are the baseline's."""
    stems = [Path(file).stem for file in files]
    taken = [*stems, "bicubic"]
    return [file if taken.count(stem) > 1 else stem for file, stem in zip(files, stems, strict=True)]


def _write(path: Path, text: str, overwrite: bool) -> None:
    from ..images.io.atomic import atomic_file
    from ..images.io.errors import ImageFileError

    try:
        with atomic_file(path, overwrite=overwrite) as file:
            file.write(text.encode())
    except OSError as error:
        raise ImageFileError(f"{path} cannot be written: {error}.") from error


def _figures(rows: list[Row], rgb: bool) -> Table:
    """Return a table with a row for each image and one for the mean, and a column for each method."""
    from ..analysis.evaluate import mean_of
    from ..analysis.tables import by_method

    methods = by_method(rows)
    table = Table(box=None, header_style="bold")
    table.add_column("image", overflow="fold")
    for method, scale in methods:
        for channels in ("Y", "RGB") if rgb else ("Y",):
            table.add_column(escape(f"{method} x{scale}\n{channels} PSNR SSIM"), justify="right", overflow="fold")
    by_image: dict[str, dict[tuple[str, int], Fidelity | None]] = {}
    for row in rows:
        by_image.setdefault(row.image, {})[row.method, row.scale] = row.fidelity
    for image, figures in by_image.items():
        table.add_row(escape(image), *(cell for key in methods for cell in _cells(figures.get(key), rgb)))
    table.add_section()
    means = [mean_of(its_rows) for its_rows in methods.values()]
    table.add_row("mean", *(cell for each in means for cell in _cells(each, rgb)), style="bold")
    return table


def _cells(fidelity: Fidelity | None, rgb: bool) -> list[str]:
    if fidelity is None:
        return ["-"] * (2 if rgb else 1)
    cells = [f"{fidelity.psnr_y:.2f} {fidelity.ssim_y:.4f}"]
    return [*cells, f"{fidelity.psnr_rgb:.2f} {fidelity.ssim_rgb:.4f}"] if rgb else cells


def _ranking(rows: list[Row], benchmark: str, scale: int) -> Table:
    """Return a table of the means measured here and the published ones, the best first."""
    from ..analysis.evaluate import mean_of
    from ..analysis.published import published
    from ..analysis.tables import by_method

    lines: list[tuple[str, float, float | None, str]] = []
    for (method, its_scale), its_rows in by_method(rows).items():
        complete = all(row.fidelity is not None for row in its_rows)
        if its_scale == scale and complete and (fidelity := mean_of(its_rows)) is not None:
            lines.append((method, fidelity.psnr_y, fidelity.ssim_y, "measured here"))
    lines += [(each.network, each.psnr_y, each.ssim_y, each.source) for each in published(benchmark, scale)]
    table = Table(box=None, header_style="bold", title=f"{benchmark} x{scale}", title_justify="left")
    table.add_column("network", overflow="fold")
    table.add_column("Y PSNR", justify="right")
    table.add_column("SSIM", justify="right")
    table.add_column("source", style="dim", overflow="fold")
    for network, psnr, ssim, source in sorted(lines, key=lambda line: -line[1]):
        style = "bold" if source == "measured here" else None
        table.add_row(escape(network), f"{psnr:.2f}", "-" if ssim is None else f"{ssim:.4f}", source, style=style)
    return table
