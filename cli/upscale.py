"""`supertile upscale`: images and videos."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import SupertileError
from .console import (
    FAILED,
    INCOMPLETE,
    error_sentence,
    errors_as_sentences,
    frame_bar_state,
    progress_bar,
    say,
    show_traceback,
    termination_cleans_up,
    warnings_once,
)
from .options import (
    BaseWindow,
    Batch,
    Cluster,
    Compile,
    CompileOption,
    Debug,
    Deinterlace,
    Device,
    Format,
    Mean,
    Model,
    Overlap,
    Overwrite,
    Precision,
    PrecisionOption,
    Quiet,
    Seamless,
    SeamlessOption,
    SelfEnsemble,
    SizeOption,
    Tile,
    parse_rate,
    parse_time,
)

if TYPE_CHECKING:
    from ..images.batch import Outcome
    from ..images.jobs import FileJob
    from ..video.batch import VideoOutcome

VIDEOS = "Videos"
DEFAULT_IMAGE_QUALITY = 95


def upscale(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SRC...", help="Images, videos, folders of them, or numbered images (frames/%06d.png)."),
    ],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="File or folder to write to; end the name of a new folder in /.")
    ],
    model: Model = None,
    size: SizeOption = None,
    tile: Tile = "auto",
    overlap: Overlap = "auto",
    batch: Batch = "auto",
    precision: PrecisionOption = Precision.auto,
    device: Device = "auto",
    cluster: Cluster = None,
    seamless: SeamlessOption = Seamless.none,
    self_ensemble: SelfEnsemble = False,
    compile: CompileOption = Compile.off,
    mean: Mean = None,
    base_window: BaseWindow = None,
    format: Annotated[
        Format | None, typer.Option(help="Format of images. Default: by the suffix of DST, or as the source.")
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Quality of JPEG, WebP (100: lossless) and videos. Default: 95 for images, 90 for videos.",
        ),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(
            rich_help_panel=VIDEOS,
            help="Video codec: h264, hevc, av1, vp9, prores, ffv1, or h264_nvenc, hevc_nvenc, av1_nvenc. auto: h264; "
            "vp9 in WebM.",
        ),
    ] = "auto",
    preset: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=VIDEOS,
            help="Speed of the encoder, from ultrafast to veryslow; slower makes smaller files. Default: medium.",
        ),
    ] = None,
    pixel_format: Annotated[
        str,
        typer.Option(
            rich_help_panel=VIDEOS,
            help="Pixel format, by FFmpeg's name (yuv420p10le). auto: bit depth and chroma subsampling of the source.",
        ),
    ] = "auto",
    start: Annotated[
        Any,
        typer.Option(
            parser=parse_time,
            rich_help_panel=VIDEOS,
            metavar="TIME",
            help="Start at this time: seconds (90.5) or hours:minutes:seconds (0:01:30.5).",
        ),
    ] = None,
    end: Annotated[
        Any,
        typer.Option(parser=parse_time, rich_help_panel=VIDEOS, metavar="TIME", help="Stop before this time."),
    ] = None,
    frame_rate: Annotated[
        Any,
        typer.Option(
            parser=parse_rate,
            rich_help_panel=VIDEOS,
            metavar="FPS",
            help="Frame rate of numbered images, in frames per second: 25, 23.976 or 24000/1001.",
        ),
    ] = None,
    deinterlace: Annotated[
        Deinterlace,
        typer.Option(
            rich_help_panel=VIDEOS, help="Deinterlace every frame (yes), none (no) or those flagged interlaced (auto)."
        ),
    ] = Deinterlace.auto,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Give each result the file times of its source.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Upscale images and videos.

    One file is written to a file or into a folder, several files into a folder, and folders into a folder with their
    structure kept.
    """
    with errors_as_sentences(debug, stdout_is_the_result=False), termination_cleans_up():
        console = Console(stderr=True)
        with warnings_once(console):
            jobs = _jobs(sources, target, None if format is None else format.value)
        _remove_stale_parts(jobs)

        from ..images.batch import upscale_image_files
        from ..inference.cluster.pool import RayPool
        from ..inference.spec import UpscalerSpec, precision_name
        from ..video.batch import upscale_video_files
        from ..video.frames import Span
        from ..video.kinds import is_video_job
        from ..video.read.open import SourceOptions
        from ..video.write.encoder_options import EncoderOptions
        from ..weights.bundle import bundled_for

        encoder = EncoderOptions(
            codec=codec,
            quality=quality or EncoderOptions.quality,
            preset=preset or EncoderOptions.preset,
            pixel_format=pixel_format,
        )
        videos = [job for job in jobs if is_video_job(job.source, job.target)]
        images = [job for job in jobs if not is_video_job(job.source, job.target)]
        bundled = bundled_for(None if size is None else size.common_factor)

        def warn(sentence: str) -> None:
            say(console, f"Warning: {sentence}")

        results = _Results(console, len(jobs), quiet=quiet, debug=debug, keep_times=keep_times)
        with progress_bar(console, hidden=quiet) as progress, warnings_once(console):
            files = progress.add_task("files", total=len(jobs), visible=len(jobs) > 1)
            tiles = progress.add_task("tiles", total=None)
            spec = UpscalerSpec(model or bundled, mean, base_window).with_settings(
                precision=precision.value,
                tile=tile,
                overlap=overlap,
                batch=batch,
                seamless=seamless.value,
                self_ensemble=self_ensemble,
                compile=compile.value,
            )
            upscaler = spec.build(device)
            for outcome in upscale_image_files(
                images,
                upscaler,
                size=size,
                quality=quality or DEFAULT_IMAGE_QUALITY,
                overwrite=overwrite,
                progress=lambda done, total: progress.update(tiles, completed=done, total=total),
            ):
                progress.advance(files)
                results.add_image(outcome)
            with ExitStack() as stack:
                pool = None
                if videos and cluster is not None:
                    pool = stack.enter_context(RayPool(spec, cluster, warn=warn))
                    if pool.precision() != precision_name(upscaler):  # the machines of the cluster have other devices
                        upscaler = spec.with_settings(precision=pool.precision()).build(device)
                progress.update(tiles, visible=False)
                frames = progress.add_task("frames", total=None, visible=bool(videos))
                for video_outcome in upscale_video_files(
                    videos,
                    upscaler,
                    size=size,
                    encoder=encoder,
                    span=Span(start, end),
                    source_options=SourceOptions(frame_rate=frame_rate, deinterlace=deinterlace.value),
                    overwrite=overwrite,
                    progress=lambda state: progress.update(frames, **frame_bar_state(state)),
                    warn=warn,
                    pool=pool,
                ):
                    progress.advance(files)
                    results.add_video(video_outcome)
        results.exit()


def _jobs(sources: list[Path], target: str, format: str | None) -> list[FileJob]:
    from ..images.jobs import FileJob, plan_jobs
    from ..video.kinds import VIDEO_SUFFIXES, is_pattern

    if len(sources) == 1 and is_pattern(sources[0]):
        return [FileJob(sources[0], Path(target))]
    return plan_jobs(sources, target, format=format, video_suffixes=VIDEO_SUFFIXES)


def _remove_stale_parts(jobs: list[FileJob]) -> None:
    from ..images.io.atomic import remove_stale_parts

    for folder in {job.target.parent for job in jobs}:
        remove_stale_parts(folder)


class _Results:
    """Print a line for each file as it is finished, and find the exit code of them all."""

    def __init__(self, console: Console, total: int, *, quiet: bool, debug: bool, keep_times: bool) -> None:
        self._console, self._total = console, total
        self._quiet, self._debug, self._keep_times = quiet, debug, keep_times
        self._failed = 0
        self._incomplete = False

    def add_image(self, outcome: Outcome) -> None:
        before, after = ("x".join(map(str, size)) for size in (outcome.source_size, outcome.target_size))
        self._add(
            outcome.job,
            f"{outcome.job.source} {before} -> {outcome.job.target} {after} ({outcome.seconds:.1f} s)",
            outcome.error,
        )
        self._incomplete |= not outcome.complete

    def add_video(self, outcome: VideoOutcome) -> None:
        self._add(outcome.job, outcome.report.summary() if outcome.report else "", outcome.error)
        self._incomplete |= outcome.report is not None and not outcome.report.complete

    def _add(self, job: FileJob, summary: str, error: Exception | None) -> None:
        """Print a summary or an error; raise the error of a single file, which decides the exit code."""
        if error is None and self._keep_times:
            error = _times_error(job)
        if error is None:
            if not self._quiet:
                typer.echo(summary)
            return
        if self._total == 1 and (self._debug or isinstance(error, SupertileError)):
            raise error
        self._failed += 1
        if self._debug and not isinstance(error, SupertileError):
            show_traceback(self._console, error)
        say(self._console, error_sentence(error, job.source))

    def exit(self) -> None:
        """Leave the program with a code other than 0 unless every file is done and complete."""
        if self._failed and self._total == 1:
            raise typer.Exit(FAILED)
        if self._failed:
            say(self._console, f"{self._failed} of {self._total} files failed; the others are done.")
            raise typer.Exit(FAILED)
        if self._incomplete:
            raise typer.Exit(INCOMPLETE)


def _times_error(job: FileJob) -> Exception | None:
    """Give the target of a job, unless it is numbered images, the times of its source; return why that failed."""
    from ..images.io.atomic import copy_times

    if not (job.source.is_file() and job.target.is_file()):
        return None
    try:
        copy_times(job.source, job.target)
    except OSError as error:
        return SupertileError(f"{job.target} is written, but its times cannot be set ({error.strerror}).")
    return None
