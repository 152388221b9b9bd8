"""`supertile attribution`, `receptive-field` and `seams`: which pixels a model uses, and the error that tiles cause."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .console import errors_as_sentences, termination_cleans_up, warnings_once
from .display import progress_bar
from .options import (
    AsJson,
    Debug,
    Device,
    JsonFile,
    ModelFolder,
    Overlap,
    Overwrite,
    complete_model,
    number_or,
    parse_patch,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..analysis.seams import Seams

Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=complete_model,
        help="Checkpoint or name; repeat to show several side by side.",
    ),
]
LowResImage = Annotated[Path, typer.Argument(metavar="IMAGE", help="Image to upscale.")]


def attribution(
    image: LowResImage,
    out: Annotated[
        Path, typer.Argument(metavar="OUT.png", help="Drawing to write: a map of each model over the image.")
    ],
    model: Models,
    model_folder: ModelFolder = None,
    patch: Annotated[
        Any,
        typer.Option(
            parser=parse_patch,
            metavar="X,Y,SIZE",
            help="Square of IMAGE to explain: its left and top edge and its side, in pixels. Default: 4x4 pixels "
            "in the middle.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of points on the path from a blurred image to IMAGE.")] = 32,
    as_json: JsonFile = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Draw which pixels a model uses for a patch.

    This is a local attribution map: it shows how much each pixel of an image contributes to a patch of the result.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        _check_files(out, as_json, [image], overwrite)
        from ..analysis.attribution import Patch, attribute
        from ..analysis.gradients import Differentiable
        from ..analysis.heatmaps import attribution_panels
        from ..analysis.panels import draw_panels
        from ..weights.loader import load_model

        console = Console(stderr=True)
        attributions, figures = [], []
        with progress_bar(console, hidden=False) as progress, warnings_once(console):
            for name in model:
                network = Differentiable(load_model(name), device=device)
                pixels = _read(image, network.input_channels)
                square = None if patch is None else Patch(*patch)
                each = attribute(
                    network, pixels, square, steps=steps,
                    progress=_bar(progress, Path(name).stem),
                )  # fmt: skip
                attributions.append((Path(name).stem, each))
                figures.append({
                    "model": name, "diffusion_index": each.diffusion_index, "before": each.before,
                    "after": each.after, "completeness": each.completeness,
                })  # fmt: skip
            for (name, each), row in zip(attributions, figures, strict=True):
                typer.echo(f"{name}: DI {row['diffusion_index']:.2f}, completeness {100 * each.completeness:.1f} %")
            _write_image(out, draw_panels(attribution_panels(_read(image, 3), attributions)), [image], overwrite)
            explained = attributions[0][1].patch
            _write_json(as_json, {
                "image": str(image), "patch": {"x": explained.x, "y": explained.y, "size": explained.size},
                "steps": steps, "models": figures,
            }, overwrite)  # fmt: skip


def receptive_field(
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="Drawing to write: the field of each model.")],
    model: Models,
    model_folder: ModelFolder = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image", metavar="FILE", help="Image to measure on instead of noise; repeat for several of the same size."
        ),
    ] = None,
    side: Annotated[int, typer.Option(min=1, metavar="N", help="Side of the noise images, in pixels.")] = 128,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Number of noise images.")] = 8,
    as_json: JsonFile = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Draw the receptive field of a model.

    This is the effective receptive field: how much each pixel of an image contributes to a pixel in the middle of the
    result.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        sources = image or []
        _check_files(out, as_json, sources, overwrite)
        from ..analysis import receptive_field as fields
        from ..analysis.gradients import Differentiable
        from ..analysis.heatmaps import field_panels
        from ..analysis.panels import draw_panels
        from ..weights.loader import load_model

        console = Console(stderr=True)
        measured, figures = [], []
        with progress_bar(console, hidden=False) as progress, warnings_once(console):
            for name in model:
                network = Differentiable(load_model(name), device=device)
                channels = network.input_channels
                images = [_read(path, channels) for path in sources] or fields.noise(channels, side, count)
                field = fields.receptive_field(
                    network, images,
                    progress=_bar(progress, Path(name).stem),
                )  # fmt: skip
                measured.append((Path(name).stem, field))
                figures.append({"model": name, **field.figures()})
            for (name, field), row in zip(measured, figures, strict=True):
                radii = ", ".join(f"{100 * share:.0f} % within {row['energy'][share]}" for share in fields.SHARES)
                typer.echo(f"{name}: {radii} pixels, farthest {field.farthest} pixels")
            _write_image(out, draw_panels(field_panels(measured), 2), sources, overwrite)
            _write_json(as_json, {"images": [str(path) for path in sources] or f"{count} of noise, {side}x{side}",
                                  "models": figures}, overwrite)  # fmt: skip


def seams(
    image: LowResImage,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="MODEL", autocompletion=complete_model, help="Checkpoint or name."),
    ],
    model_folder: ModelFolder = None,
    tile: Annotated[
        Any,
        typer.Option(
            parser=number_or("auto", at_least=1),
            metavar="auto|N",
            help="Longest side of a tile, in pixels of the image. auto: as in upscale, at most half of it.",
        ),
    ] = "auto",
    overlap: Overlap = "auto",
    below: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="E", help="Also find the smallest overlap whose largest error is below E, in units of 1/255."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="MAP.png", help="Map of the errors to write.")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Measure the error that tiles cause.

    An image is upscaled whole and in tiles, and the results are compared.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        if out is not None:
            _check_files(out, None, [image], overwrite)
        from ..analysis.heatmaps import seam_panels
        from ..analysis.panels import draw_panels
        from ..analysis.seams import SeamCheck
        from ..weights.loader import load_model

        console = Console(stderr=True)
        with progress_bar(console, hidden=False) as progress, warnings_once(console):
            loaded = load_model(model)
            pixels = _read(image, loaded.input_channels)
            check = SeamCheck(
                loaded, pixels, None if tile == "auto" else tile, device=device, precision="fp32",
                progress=_bar(progress, "images"),
            )  # fmt: skip
            measured = check.measure(overlap)
            smallest = None if below is None else check.smallest(below)
            if out is not None:
                _write_image(out, draw_panels(seam_panels(measured)), [image], overwrite)
        if as_json:
            typer.echo(json.dumps({
                **_figures(measured),
                **({} if below is None else {"below": below, "smallest": smallest and _figures(smallest)}),
            }, indent=2))  # fmt: skip
            return
        typer.echo(_sentence(measured))
        if smallest is not None:
            typer.echo(
                f"The smallest overlap with errors below {below:g}/255 is {smallest.overlap}. {_sentence(smallest)}"
            )
        elif below is not None:
            typer.echo(f"No overlap that fits tiles of {check.tile} pixels has all errors below {below:g}/255.")


def _bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    task = progress.add_task(name, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _figures(seams: Seams) -> dict[str, Any]:
    psnr = seams.psnr if math.isfinite(seams.psnr) else None  # JSON has no infinity
    return {"tile": seams.tile, "overlap": seams.overlap, "tiles": seams.tiles, "largest": seams.largest,
            "mean": seams.mean, "psnr": psnr}  # fmt: skip


def _sentence(seams: Seams) -> str:
    return (
        f"{seams.tiles} tiles of {seams.tile} pixels with an overlap of {seams.overlap}: the largest error is "
        f"{seams.largest:.3f}/255, the mean {seams.mean:.4f}/255, the PSNR {seams.psnr:.1f} dB."
    )


def _read(path: Path, channels: int) -> Any:
    """Read an image as (channels, H, W) in [0, 1], without its transparency."""
    from ..images.channels import to_batch
    from ..images.io.files import read_image

    return to_batch(read_image(path).color, None, channels)[0]


def _check_files(out: Path, figures: Path | None, sources: list[Path], overwrite: bool) -> None:
    """Raise ImageFileError, before any work, for files that could not be written."""
    from ..images.io.atomic import check_target
    from ..images.io.formats import format_of

    format_of(out)
    for path in (out, figures):
        if path is not None:
            check_target(path, overwrite=overwrite, sources=sources)


def _write_image(path: Path, pixels: Any, sources: list[Path], overwrite: bool) -> None:
    from ..images.io.files import write_image
    from ..images.io.picture import Picture

    write_image(path, Picture(pixels), overwrite=overwrite, sources=sources)


def _write_json(path: Path | None, figures: dict[str, Any], overwrite: bool) -> None:
    if path is not None:
        from ..images.io.atomic import atomic_file

        with atomic_file(path, overwrite=overwrite) as file:
            file.write((json.dumps(figures, indent=2) + "\n").encode())
