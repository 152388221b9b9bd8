"""The command line: arguments in, sentences and exit codes out. The work is done by `images` and `weights`.

torch is imported inside the commands, so that help and wrong usage answer at once.
"""

from __future__ import annotations

import re
import signal
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
    from .images.batch import Job, Outcome
    from .inference.upscaler import Upscaler
    from .video.batch import VideoOutcome
    from .video.report import VideoProgress
    from .weights.loader import CheckpointInfo

FAILED, USAGE, INCOMPLETE, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143

VIDEOS = "Videos"

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


class Deinterlace(str, Enum):
    auto = "auto"
    yes = "yes"
    no = "no"


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


def _time(text: str) -> Any:
    """Seconds, or hours:minutes:seconds, as an exact number."""
    from fractions import Fraction

    seconds = Fraction(0)
    parts = text.split(":")
    for part in parts:
        if not re.fullmatch(r"\d{1,9}(\.\d{0,9})?", part) or len(parts) > 3:
            raise typer.BadParameter(f"{text!r} is no time; give seconds (90.5) or hours:minutes:seconds (0:01:30.5).")
        seconds = seconds * 60 + Fraction(part)
    return seconds


def _rate(text: str) -> Any:
    from fractions import Fraction

    if not re.fullmatch(r"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?", text) or not Fraction(text):
        raise typer.BadParameter(f"{text!r} is no frame rate; give a number such as 25, 23.976 or 24000/1001.")
    return Fraction(text)


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
    """Upscale pictures and videos with HAT, VapSR, HiT-SR and every other network spandrel knows."""


@app.command()
def upscale(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SRC...", help="Pictures, videos, folders of them, or frames/%06d.png.")
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="A file, or a folder (for one file: ends in /).")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="FILE",
            help="The checkpoint. Default: supertile-4x, which comes with the package; "
            "supertile-2x for sizes up to 2x.",
        ),
    ] = None,
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
        Any,
        typer.Option(
            parser=_number_or("auto", "whole", "none", at_least=1),
            metavar="auto|whole|N",
            help="Tile size; whole pictures, in strips, need memory that auto finds out about.",
        ),
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
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Of JPEG and WebP (default 95; a WebP of 100 is lossless) and of videos (default 90)."
        ),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(rich_help_panel=VIDEOS, help="auto, h264, hevc, av1, vp9, prores, ffv1; h264_nvenc and the like."),
    ] = "auto",
    preset: Annotated[
        str | None, typer.Option(rich_help_panel=VIDEOS, help="From ultrafast to veryslow; default: medium.")
    ] = None,
    pixel_format: Annotated[
        str, typer.Option(rich_help_panel=VIDEOS, help="FFmpeg's name, such as yuv420p10le; auto keeps the source's.")
    ] = "auto",
    start: Annotated[
        Any, typer.Option(parser=_time, rich_help_panel=VIDEOS, metavar="TIME", help="Begin here: 90.5 or 0:01:30.5.")
    ] = None,
    end: Annotated[
        Any, typer.Option(parser=_time, rich_help_panel=VIDEOS, metavar="TIME", help="End before this time.")
    ] = None,
    frame_rate: Annotated[
        Any, typer.Option(parser=_rate, rich_help_panel=VIDEOS, metavar="FPS", help="Of numbered pictures.")
    ] = None,
    deinterlace: Annotated[
        Deinterlace, typer.Option(rich_help_panel=VIDEOS, help="auto: frames that are flagged interlaced.")
    ] = Deinterlace.auto,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist (never sources).")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")] = False,
    debug: Debug = False,
) -> None:
    """Upscale pictures and videos.

    One file to a file or a folder, several files to a folder, folders to a folder with their structure kept.
    """
    with _errors_as_sentences(debug), _sigterm_cleans_up():
        written_as = None if format is None else format.value
        jobs = _plan(sources, target, written_as)

        from .images.batch import upscale_image_files
        from .images.size import factor_of
        from .inference.upscaler import Upscaler
        from .video.kinds import is_video_job
        from .weights.bundle import bundled_for
        from .weights.loader import load_model

        videos = [job for job in jobs if is_video_job(job.source, job.target)]
        pictures = [job for job in jobs if job not in videos]
        console = Console(stderr=True)
        with _progress(console, hidden=quiet) as progress, _warnings_once(console):
            files = progress.add_task("files", total=len(jobs), visible=len(jobs) > 1)
            tiles = progress.add_task("tiles", total=None)
            upscaler = Upscaler(
                load_model(model or bundled_for(factor_of(size)), mean=mean, base_window=base_window),
                device=device,
                precision=precision.value,
                tile="whole" if tile == "none" else tile,
                overlap=overlap,
                batch=batch,
                seamless=seamless.value,
                self_ensemble=self_ensemble,
                progress=lambda done, total: progress.update(tiles, completed=done, total=total),
            )
            failed = 0
            incomplete = False
            for outcome in upscale_image_files(
                pictures,
                upscaler,
                size=size,
                format=written_as,
                quality=quality or 95,
                overwrite=overwrite,
            ):
                progress.advance(files)
                failed += _tell(console, outcome.error, outcome.error or _summary(outcome), len(jobs), quiet)
            if videos:
                progress.update(tiles, visible=False)
                frames = progress.add_task("frames", total=None)
                upscaler.progress = None
                for done in _upscale_videos(
                    videos,
                    upscaler,
                    console,
                    lambda state: progress.update(frames, **_shown(state)),
                    size=size,
                    codec=codec,
                    quality=quality,
                    preset=preset,
                    pixel_format=pixel_format,
                    start=start,
                    end=end,
                    frame_rate=frame_rate,
                    deinterlace=deinterlace.value,
                    overwrite=overwrite,
                ):
                    progress.advance(files)
                    report = done.report
                    failed += _tell(console, done.error, report.summary() if report else "", len(jobs), quiet)
                    incomplete |= report is not None and not report.complete
        if failed:
            _say(console, f"{failed} of {len(jobs)} files failed; the others are done.")
            raise typer.Exit(FAILED)
        if incomplete:
            raise typer.Exit(INCOMPLETE)


def _plan(sources: list[Path], target: str, format: str | None) -> list[Job]:
    from .images.batch import Job, plan
    from .video.kinds import VIDEO_SUFFIXES, is_pattern

    if len(sources) == 1 and is_pattern(sources[0]):
        return [Job(sources[0], Path(target))]
    return plan(sources, target, format=format, also=VIDEO_SUFFIXES)


def _upscale_videos(
    jobs: list[Job],
    upscaler: Upscaler,
    console: Console,
    progress: Callable[[VideoProgress], None],
    **options: Any,
) -> Iterator[VideoOutcome]:
    from .video.batch import upscale_video_files

    return upscale_video_files(
        jobs, upscaler, progress=progress, warn=lambda sentence: _say(console, f"Warning: {sentence}"), **options
    )


def _shown(state: VideoProgress) -> dict[str, Any]:
    """What the bar of frames shows."""
    text = f"frames {state.fps:.2f} fps {state.bytes_written / 1e6:.1f} MB"
    return {"completed": state.frames, "total": state.expected, "description": text}


def _tell(console: Console, error: Exception | None, words: object, of: int, quiet: bool) -> bool:
    """Say what became of a file; the only one's error is raised instead. Returns whether it failed."""
    if error is not None and of == 1:
        raise error
    if error is not None:
        _say(console, str(error))
    elif not quiet:
        typer.echo(words)
    return error is not None


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
            from .inference.memory import planned
            from .weights.loader import network_without_weights

            _print_info(found, planned(network_without_weights(file)))


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


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")] = Path("out/demo"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    debug: Debug = False,
) -> None:
    """Enlarge a picture and a clip that come with the package, and show the picture beside bicubic."""
    with _errors_as_sentences(debug), _sigterm_cleans_up():
        from .demo.show import show
        from .inference.upscaler import Upscaler
        from .weights.bundle import bundled_for
        from .weights.loader import load_model

        console = Console(stderr=True)
        with _progress(console, hidden=False) as progress, _warnings_once(console):
            frames = progress.add_task("frames", total=None)
            upscaler = Upscaler(load_model(bundled_for(None)), device=device)
            for path in show(folder, upscaler, lambda state: progress.update(frames, **_shown(state))):
                typer.echo(path)


def _print_info(found: CheckpointInfo, memory: str | None = None) -> None:
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
    if memory is not None:
        rows.append(("memory", memory))
    if found.not_inferable:
        rows.append(("not in the file", ", ".join(found.not_inferable)))
    for name, value in rows:
        table.add_row(escape(name), escape(str(value)))
    Console().print(table)


@contextmanager
def _sigterm_cleans_up() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does: half-written files are removed first."""

    def stop(*_: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        from .video.errors import VideoError
        from .weights.errors import CheckpointError

        if isinstance(error, Cancelled):
            _say(console, "Interrupted; finished files are kept.")
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, (PlanError, ImageFileError, SizeError, UpscaleError, CheckpointError, VideoError)):
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
