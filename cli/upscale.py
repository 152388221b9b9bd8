"""`supertile upscale`: images and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .console import (
    FAILED,
    INCOMPLETE,
    bar_of_frames,
    errors_as_sentences,
    progress_bar,
    say,
    sigterm_cleans_up,
    warnings_once,
)
from .options import (
    BaseWindow,
    Batch,
    Compile,
    CompileOption,
    Debug,
    Deinterlace,
    Device,
    Format,
    Mean,
    Overlap,
    Overwrite,
    Precision,
    PrecisionOption,
    Seamless,
    SelfEnsemble,
    Tile,
    parse_rate,
    parse_size,
    parse_time,
)

if TYPE_CHECKING:
    from ..images.batch import Job, Outcome
    from ..inference.upscaler import Upscaler
    from ..video.batch import VideoOutcome
    from ..video.report import VideoProgress

VIDEOS = "Videos"


def upscale(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SRC...", help="Images, videos, folders of them, or frames/%06d.png.")
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
            parser=parse_size,
            metavar="SIZE",
            help="2x, 1.5x; 1920x1080 (exactly), 1920x, x1080; 4k, 1080p, ... (fits inside); 12mp. "
            "Default: what the model gives.",
        ),
    ] = None,
    tile: Tile = "auto",
    overlap: Overlap = "auto",
    batch: Batch = "auto",
    precision: PrecisionOption = Precision.auto,
    device: Device = "auto",
    seamless: Annotated[Seamless, typer.Option(help="Axes along which the image tiles.")] = Seamless.none,
    self_ensemble: SelfEnsemble = False,
    compile: CompileOption = Compile.off,
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
        Any,
        typer.Option(parser=parse_time, rich_help_panel=VIDEOS, metavar="TIME", help="Begin here: 90.5 or 0:01:30.5."),
    ] = None,
    end: Annotated[
        Any, typer.Option(parser=parse_time, rich_help_panel=VIDEOS, metavar="TIME", help="End before this time.")
    ] = None,
    frame_rate: Annotated[
        Any, typer.Option(parser=parse_rate, rich_help_panel=VIDEOS, metavar="FPS", help="Of numbered images.")
    ] = None,
    deinterlace: Annotated[
        Deinterlace, typer.Option(rich_help_panel=VIDEOS, help="auto: frames that are flagged interlaced.")
    ] = Deinterlace.auto,
    overwrite: Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")] = False,
    debug: Debug = False,
) -> None:
    """Upscale images and videos.

    One file to a file or a folder, several files to a folder, folders to a folder with their structure kept.
    """
    with errors_as_sentences(debug), sigterm_cleans_up():
        written_as = None if format is None else format.value
        jobs = _plan(sources, target, written_as)

        from ..images.batch import upscale_image_files
        from ..images.size import factor_of
        from ..inference.upscaler import Upscaler
        from ..video.frames import Span
        from ..video.kinds import is_video_job
        from ..video.read.open import SourceOptions
        from ..video.write.encoder_options import EncoderOptions
        from ..weights.bundle import bundled_for
        from ..weights.loader import load_model

        videos = [job for job in jobs if is_video_job(job.source, job.target)]
        image_files = [job for job in jobs if job not in videos]
        console = Console(stderr=True)
        with progress_bar(console, hidden=quiet) as progress, warnings_once(console):
            files = progress.add_task("files", total=len(jobs), visible=len(jobs) > 1)
            tiles = progress.add_task("tiles", total=None)
            upscaler = Upscaler(
                load_model(model or bundled_for(factor_of(size)), mean=mean, base_window=base_window),
                device=device,
                precision=precision.value,
                tile=tile,
                overlap=overlap,
                batch=batch,
                seamless=seamless.value,
                self_ensemble=self_ensemble,
                compile=compile.value,
                progress=lambda done, total: progress.update(tiles, completed=done, total=total),
            )
            failed = 0
            incomplete = False
            for outcome in upscale_image_files(
                image_files,
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
                    lambda state: progress.update(frames, **bar_of_frames(state)),
                    size=size,
                    encoder=EncoderOptions(
                        codec=codec,
                        quality=quality or EncoderOptions.quality,
                        preset=preset or EncoderOptions.preset,
                        pixel_format=pixel_format,
                    ),
                    span=Span(start, end),
                    source_options=SourceOptions(frame_rate=frame_rate, deinterlace=deinterlace.value),
                    overwrite=overwrite,
                ):
                    progress.advance(files)
                    report = done.report
                    failed += _tell(console, done.error, report.summary() if report else "", len(jobs), quiet)
                    incomplete |= report is not None and not report.complete
        if failed:
            say(console, f"{failed} of {len(jobs)} files failed; the others are done.")
            raise typer.Exit(FAILED)
        if incomplete:
            raise typer.Exit(INCOMPLETE)


def _plan(sources: list[Path], target: str, format: str | None) -> list[Job]:
    from ..images.batch import Job, plan
    from ..video.kinds import VIDEO_SUFFIXES, is_pattern

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
    from ..video.batch import upscale_video_files

    return upscale_video_files(
        jobs, upscaler, progress=progress, warn=lambda sentence: say(console, f"Warning: {sentence}"), **options
    )


def _tell(console: Console, error: Exception | None, words: object, of: int, quiet: bool) -> bool:
    """Say what became of a file; the only one's error is raised instead. Returns whether it failed."""
    if error is not None and of == 1:
        raise error
    if error is not None:
        say(console, str(error))
    elif not quiet:
        typer.echo(words)
    return error is not None


def _summary(outcome: Outcome) -> str:
    before, after = ("x".join(map(str, size)) for size in (outcome.source_size, outcome.target_size))
    return f"{outcome.job.source} {before} -> {outcome.job.target} {after} ({outcome.seconds:.1f} s)"
