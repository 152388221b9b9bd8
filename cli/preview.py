"""`supertile preview`: a few crops by one or several models beside bicubic, before a long job."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .console import errors_as_sentences, say, termination_cleans_up, warnings_once
from .display import progress_bar
from .options import (
    AsJson,
    BaseWindow,
    Debug,
    Device,
    Mean,
    ModelFolder,
    Overlap,
    Precision,
    PrecisionOption,
    Quiet,
    SelfEnsemble,
    SizeOption,
    Tile,
    complete_model,
    parse_point,
    parse_time,
)

if TYPE_CHECKING:
    from ..previews.result import Preview

VIDEOS = "Videos"
_PAGE_SUFFIXES = (".html", ".htm")


def preview(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Image, video, animation, or numbered images (frames/%06d.png).")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=complete_model,
            help="Checkpoint or name of a model; repeat to compare several. Default: the one that supertile upscale "
            "takes for this source.",
        ),
    ] = None,
    model_folder: ModelFolder = None,
    denoise: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            max=1,
            metavar="STRENGTH",
            help="How much noise and compression the bundled models remove, from 0 to 1; repeat to compare several.",
        ),
    ] = None,
    size: SizeOption = None,
    at: Annotated[
        list[Any] | None,
        typer.Option(
            parser=parse_point,
            metavar="X,Y",
            help="Center of a crop, in pixels of SRC; repeat for several. Default: chosen where the image has texture "
            "and edges.",
        ),
    ] = None,
    crops: Annotated[
        int, typer.Option(min=1, max=50, metavar="N", help="Number of crops of an image, or of frames of a video.")
    ] = 3,
    side: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=1024,
            metavar="N",
            help="Side of a crop, in pixels of SRC. Default: such that its result has about 512.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sheet to write. Default: SRC-preview.png in the current folder."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Also write a page with a slider between bicubic and each model: one file that loads nothing else.",
        ),
    ] = None,
    open_page: Annotated[
        bool,
        typer.Option("--open", help="Open this page in the default browser. Default of --page: beside the sheet."),
    ] = False,
    start: Annotated[
        Any,
        typer.Option(
            parser=parse_time,
            rich_help_panel=VIDEOS,
            metavar="TIME",
            help="Take frames from this time on: seconds (90.5) or hours:minutes:seconds (0:01:30.5).",
        ),
    ] = None,
    end: Annotated[
        Any,
        typer.Option(parser=parse_time, rich_help_panel=VIDEOS, metavar="TIME", help="Take frames before this time."),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate/--no-estimate", help="Estimate time and size of the whole job.")
    ] = True,
    tile: Tile = "auto",
    overlap: Overlap = "auto",
    precision: PrecisionOption = Precision.auto,
    device: Device = "auto",
    self_ensemble: SelfEnsemble = False,
    mean: Mean = None,
    base_window: BaseWindow = None,
    as_json: AsJson = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show a few crops of an image or a video by one or several models, before the work.

    Write a sheet of the crops beside bicubic and, on request, a page with a slider. Say how long the whole job would
    take with each model and how large its result would be.
    """
    with errors_as_sentences(debug, stdout_is_the_result=as_json), termination_cleans_up():
        out = out or Path(f"{_stem(source)}-preview.png")
        page = page or (out.with_suffix(".html") if open_page else None)
        _check_targets(source, out, page, overwrite=overwrite)

        from ..previews.page import write_page
        from ..previews.preview import preview as compute_preview
        from ..previews.sheet import write_sheet
        from ..video.frames import Span

        console = Console(stderr=True)
        with progress_bar(console, hidden=quiet) as bars, warnings_once(console):
            task = bars.add_task("preview", total=None)
            made = compute_preview(
                source,
                model or [],
                size=size,
                denoise=denoise or [],
                at=at or [],
                crops=crops,
                side=side,
                span=Span(start, end),
                mean=mean,
                base_window=base_window,
                device=device,
                estimate=estimate,
                progress=lambda done, total, what: bars.update(task, completed=done, total=total, description=what),
                warn=lambda sentence: say(console, f"Warning: {sentence}"),
                precision=precision.value,
                tile=tile,
                overlap=overlap,
                self_ensemble=self_ensemble,
            )
            if made.is_image and (start is not None or end is not None):
                say(console, f"Warning: --start and --end have no effect: {source} is no video.")
            write_sheet(made, out, overwrite=overwrite)
            if page is not None:
                write_page(made, page, overwrite=overwrite)
        _print(made, out, page, console, as_json=as_json, quiet=quiet)
        if open_page and page is not None and not _open(page):
            say(console, f"No browser can be opened here; the page is {page.absolute()}.")


def _stem(source: Path) -> str:
    """Return the name of a source without its suffix; of numbered images that of what is around the number."""
    from ..video.kinds import NUMBER, is_pattern

    if not is_pattern(source):
        return source.stem
    return NUMBER.sub("", source.stem).strip("-_. ") or source.absolute().parent.name or "frames"


def _check_targets(source: Path, out: Path, page: Path | None, *, overwrite: bool) -> None:
    """Refuse targets before anything is computed, and make their folders."""
    from ..images.io.atomic import check_target, same_file
    from ..images.io.errors import ImageFileError
    from ..images.io.formats import format_of
    from .mistakes import UsageMistakeError

    format_of(out)
    if page is not None and page.suffix.lower() not in _PAGE_SUFFIXES:
        raise UsageMistakeError(f"The page {page} needs a name that ends in .html.")
    for target in filter(None, (out, page)):
        check_target(target, overwrite=overwrite, sources=[source])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageFileError(f"{target} cannot be written: its folder cannot be created: {error}.") from error
    if page is not None and same_file(out, page):
        raise UsageMistakeError(f"The sheet and the page cannot both be {out}.")


def _print(made: Preview, out: Path, page: Path | None, console: Console, *, as_json: bool, quiet: bool) -> None:
    from ..previews.labels import headline, job_of

    if not quiet:
        for note in made.notes:
            say(console, note)
    if as_json:
        methods = [
            {
                "name": method.name,
                "target_size": method.target_size,
                "seconds": None if method.estimate.seconds is None else round(method.estimate.seconds, 3),
                "bytes": method.estimate.bytes,
                "problem": method.estimate.problem or None,
            }
            for method in made.methods
        ]
        crops = [
            {"box": crop.box, "seconds": None if crop.seconds is None else float(crop.seconds)} for crop in made.crops
        ]
        facts = {"source": str(made.source), "source_size": made.source_size, "frames": made.frames}
        files = {"sheet": str(out), "page": None if page is None else str(page)}
        typer.echo(json.dumps({**facts, "models": methods, "crops": crops, **files}, indent=2))
        return
    if not quiet:
        typer.echo(headline(made))
        for method in made.methods:
            typer.echo(f"{method.name}: {job_of(method)}")
        for path in filter(None, (out, page)):
            typer.echo(path)


def _open(page: Path) -> bool:
    """Open a page in the default browser; return False if there is none, or only one of text in this terminal."""
    is_desktop = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if not is_desktop and "BROWSER" not in os.environ:
        return False
    try:
        return webbrowser.open(page.absolute().as_uri())
    except webbrowser.Error:
        return False
