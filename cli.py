"""The command line: arguments in, sentences and exit codes out. The work is done by `images` and `weights`.

torch is imported inside the commands, so that help and wrong usage answer at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from . import __version__

if TYPE_CHECKING:
    from .images.batch import Outcome
    from .weights.loader import CheckpointInfo

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="supertile",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Precision(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Seamless(str, Enum):
    none = "none"
    x = "x"
    y = "y"
    both = "both"


class Format(str, Enum):
    png = "png"
    jpg = "jpg"
    jpeg = "jpeg"
    webp = "webp"
    tif = "tif"
    tiff = "tiff"


class Dtype(str, Enum):
    keep = "keep"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


def _number_or(*words: str, at_least: int) -> Callable[[str], int | str]:
    """A parser for options such as "auto", "none" or a whole number."""

    def parse(text: str) -> int | str:
        if text in words:
            return text
        if not text.isdecimal() or int(text) < at_least:
            raise typer.BadParameter(f"{text!r} is not {', '.join(words)} or a whole number of {at_least} or more.")
        return int(text)

    return parse


def _mean(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(0 <= value <= 1 for value in values):
        raise typer.BadParameter(f"{text!r} is not R,G,B (or one number for gray), each from 0 to 1.")
    return values


def _size(text: str) -> str:
    from .images.size import SizeError, check_size_words

    try:
        check_size_words(text)
    except SizeError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Mean = Annotated[
    Any,
    typer.Option(
        parser=_mean, metavar="R,G,B", help="The mean colour the model was trained with, where the file does not say."
    ),
]
BaseWindow = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="HiT-SR's base window size, where the file does not say."),
]
Debug = Annotated[bool, typer.Option("--debug", envvar="SUPERTILE_DEBUG", help="Show tracebacks of errors.")]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"supertile {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Upscale pictures with HAT, VapSR, HiT-SR and every other network spandrel knows."""


@app.command()
def upscale(
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Picture files, or folders of them.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="A file, or a folder (for one file: ends in /).")],
    model: Annotated[Path, typer.Option("--model", "-m", metavar="FILE", help="The checkpoint.")],
    size: Annotated[
        Any,
        typer.Option(
            parser=_size,
            metavar="SIZE",
            help="2x, 1.5x; 1920x1080 (exactly), 1920x, x1080; 4k, 1080p, ... (fits inside); 12mp. "
            "Default: what the model gives.",
        ),
    ] = None,
    tile: Annotated[
        Any, typer.Option(parser=_number_or("auto", "none", at_least=1), metavar="auto|none|N", help="Tile size.")
    ] = "auto",
    overlap: Annotated[
        Any, typer.Option(parser=_number_or("auto", at_least=0), metavar="auto|N", help="Overlap of tiles.")
    ] = "auto",
    batch: Annotated[
        Any, typer.Option(parser=_number_or("auto", at_least=1), metavar="auto|N", help="Tiles at a time.")
    ] = "auto",
    precision: Annotated[Precision, typer.Option(help="Numbers the network computes in.")] = Precision.auto,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    seamless: Annotated[Seamless, typer.Option(help="Axes along which the picture tiles.")] = Seamless.none,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Average over eight flips and turns: eight times the time.")
    ] = False,
    mean: Mean = None,
    base_window: BaseWindow = None,
    format: Annotated[Format | None, typer.Option(help="Format to write; default: by the name of the target.")] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP; a WebP of 100 is lossless.")] = 95,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist (never sources).")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")] = False,
    debug: Debug = False,
) -> None:
    """Upscale pictures.

    One file to a file or a folder, several files to a folder, folders to a folder with their structure kept.
    """
    with _errors_as_sentences(debug):
        from .images.batch import plan, upscale_image_files

        written_as = None if format is None else format.value
        jobs = plan(sources, target, format=written_as)

        from .inference.upscaler import Upscaler
        from .weights.loader import load_model

        console = Console(stderr=True)
        with _progress(console, hidden=quiet) as progress, _warnings_once(console):
            pictures = progress.add_task("pictures", total=len(jobs), visible=len(jobs) > 1)
            tiles = progress.add_task("tiles", total=None)
            upscaler = Upscaler(
                load_model(model, mean=mean, base_window=base_window),
                device=device,
                precision=precision.value,
                tile=None if tile == "none" else tile,
                overlap=overlap,
                batch=batch,
                seamless=seamless.value,
                self_ensemble=self_ensemble,
                progress=lambda done, total: progress.update(tiles, completed=done, total=total),
            )
            failed = 0
            for outcome in upscale_image_files(
                jobs,
                upscaler,
                size=size,
                format=written_as,
                quality=quality,
                overwrite=overwrite,
            ):
                progress.advance(pictures)
                failed += outcome.error is not None
                if outcome.error is None:
                    if not quiet:
                        typer.echo(_summary(outcome))
                elif len(jobs) == 1:
                    raise outcome.error
                else:
                    _say(console, str(outcome.error))
        if failed:
            _say(console, f"{failed} of {len(jobs)} pictures failed; the others are done.")
            raise typer.Exit(FAILED)


def _summary(outcome: Outcome) -> str:
    before, after = ("x".join(map(str, size)) for size in (outcome.source_size, outcome.target_size))
    return f"{outcome.job.source} {before} -> {outcome.job.target} {after} ({outcome.seconds:.1f} s)"


@app.command()
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    debug: Debug = False,
) -> None:
    """Show what a checkpoint is: its family, scale, hyper-parameters and size."""
    with _errors_as_sentences(debug):
        from .weights.loader import inspect_checkpoint

        found = inspect_checkpoint(file)
        if as_json:
            import dataclasses
            import json

            typer.echo(json.dumps(dataclasses.asdict(found), indent=2, default=str))
        else:
            _print_info(found)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint in any container.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    dtype: Annotated[Dtype, typer.Option(help="Type of the stored numbers.")] = Dtype.keep,
    mean: Mean = None,
    base_window: BaseWindow = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Write a checkpoint as safetensors, with what cannot be read off its tensors stored beside them."""
    with _errors_as_sentences(debug):
        from .weights.loader import convert_checkpoint

        _print_info(
            convert_checkpoint(file, out, dtype=dtype.value, mean=mean, base_window=base_window, overwrite=overwrite)
        )


def _print_info(found: CheckpointInfo) -> None:
    table = Table(show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows: list[tuple[str, object]] = [
        ("file", found.path),
        ("network", found.variant or found.family),
        ("scale", f"{found.scale}x"),
        ("channels", f"{found.input_channels} in, {found.output_channels} out"),
        ("parameters", f"{found.parameters:,}"),
        ("stored as", f"{found.dtype}, {found.container}, {found.file_bytes / 1e6:.1f} MB"),
        *((name, value) for name, value in found.hyperparameters.items() if name != "scale"),
        *found.metadata.items(),
    ]
    if found.not_inferable:
        rows.append(("not in the file", ", ".join(found.not_inferable)))
    for name, value in rows:
        table.add_row(escape(name), escape(str(value)))
    Console().print(table)


@contextmanager
def _errors_as_sentences(debug: bool) -> Iterator[None]:
    """Errors become one sentence on stderr and an exit code; with `debug` they stay errors, with their traceback."""
    console = Console(stderr=True)
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _say(console, "Interrupted; finished files are kept.")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        from .images.batch import PlanError
        from .images.picture import ImageFileError
        from .images.size import SizeError
        from .inference.errors import Cancelled, UpscaleError
        from .weights.errors import CheckpointError

        if isinstance(error, Cancelled):
            _say(console, "Interrupted; finished files are kept.")
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, (PlanError, ImageFileError, SizeError, UpscaleError, CheckpointError)):
            _say(console, str(error))
        else:
            _say(console, f"Unexpected {type(error).__name__}: {error} (--debug shows where.)")
        raise typer.Exit(USAGE if isinstance(error, PlanError) else FAILED) from None


def _say(console: Console, sentence: str) -> None:
    """A line on stderr, on one line also where the terminal is narrow, beside a progress bar without tearing it."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress(console: Console, *, hidden: bool) -> Iterator[Progress]:
    """A progress bar on stderr; none where stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # a summary that goes to a file must not end up on the terminal
    ) as progress:
        yield progress


@contextmanager
def _warnings_once(console: Console) -> Iterator[None]:
    """Warnings as sentences on stderr, each once; those of the libraries below only on request (python -W)."""
    from .images.picture import ImageFileWarning

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", ImageFileWarning)
        said = set()

        def show(message: Warning | str, *_: object, **__: object) -> None:
            if str(message) not in said:
                said.add(str(message))
                _say(console, f"Warning: {message}")

        warnings.showwarning = show
        yield
