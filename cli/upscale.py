"""`supertile upscale`: images and videos."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .console import USAGE, errors_as_sentences, progress_bar, say, termination_cleans_up, warnings_once
from .dry_run import DryRun
from .events import print_event
from .mistakes import check_encoder_names, without_effect
from .options import (
    BaseWindow,
    Batch,
    Cluster,
    Compile,
    CompileOption,
    Debug,
    Deinterlace,
    Denoise,
    Device,
    Devices,
    Format,
    Mean,
    ModelFolder,
    Overlap,
    Precision,
    PrecisionOption,
    Quiet,
    Seamless,
    SeamlessOption,
    SelfEnsemble,
    SizeOption,
    Threads,
    Tile,
    UpscaleModel,
    parse_rate,
    parse_time,
)
from .progress import UpscaleProgress
from .results import Results

if TYPE_CHECKING:
    from ..images.jobs import FileJob
    from ..images.journal import Journal

VIDEOS = "Videos"
DEFAULT_IMAGE_QUALITY = 95
AUTOMATIC = "chosen by the source"


def upscale(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SRC...", help="Images, videos, folders of them, or numbered images (frames/%06d.png)."),
    ],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="File or folder to write to; end the name of a new folder in /.")
    ],
    model: UpscaleModel = None,
    model_folder: ModelFolder = None,
    denoise: Denoise = None,
    size: SizeOption = None,
    tile: Tile = "auto",
    overlap: Overlap = "auto",
    batch: Batch = "auto",
    precision: PrecisionOption = Precision.auto,
    device: Device = "auto",
    devices: Devices = None,
    threads: Threads = None,
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
            help="Pixel format, by FFmpeg's name (yuv444p10le). auto: bit depth and chroma subsampling of the source; "
            "4:2:0 in h264 and hevc, which few players show otherwise.",
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
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", rich_help_panel=VIDEOS, help="Begin anew instead of continuing an interrupted video."
        ),
    ] = False,
    keep_partial: Annotated[
        bool,
        typer.Option(
            "--keep-partial",
            rich_help_panel=VIDEOS,
            help="When interrupted, join the finished parts of a video into a file with .partial in its name.",
        ),
    ] = False,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Give each result the file times of its source.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Skip files whose target exists, also if no record shows how that was made."
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace files that exist, also those that this command has finished before. Sources are never "
            "replaced.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Write nothing; say what would be done, about how long it would take and how large it would be. A few "
            "frames and images are computed for this.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print progress and results as lines of JSON on standard output."),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Upscale images and videos.

    One file is written to a file or into a folder, several files into a folder, and folders into a folder with their
    structure kept. A folder or video that was interrupted is continued by the same
    command.
    """
    with errors_as_sentences(debug, stdout_is_the_result=False), termination_cleans_up():
        console = Console(stderr=True)
        if skip_existing and overwrite:
            say(console, "--skip-existing and --overwrite exclude each other.")
            raise typer.Exit(USAGE)

        def warning_event(sentence: str) -> None:
            if as_json:
                print_event("warning", message=sentence)

        def warn(sentence: str) -> None:
            say(console, f"Warning: {sentence}")
            warning_event(sentence)

        check_encoder_names(codec, preset)
        with warnings_once(console, warning_event):
            jobs = _jobs(sources, target, None if format is None else format.value)

        from ..images.batch import upscale_image_files
        from ..images.pool_batch import upscale_image_files_with
        from ..inference.pool import device_names
        from ..inference.spec import UpscalerSpec
        from ..inference.upscaler import choose_device
        from ..video.batch import remove_leftovers, upscale_video_files
        from ..video.frames import Span
        from ..video.kinds import split_jobs
        from ..video.parts.job import JobOptions
        from ..video.read.open import SourceOptions
        from ..video.write.encoder_options import EncoderOptions
        from ..weights.bundle import bundled_for
        from .upscalers import Upscalers

        if not dry_run:
            remove_leftovers(jobs)
        encoder = EncoderOptions(
            codec=codec,
            quality=quality or EncoderOptions.quality,
            preset=preset or EncoderOptions.preset,
            pixel_format=pixel_format,
        )
        images, videos = split_jobs(jobs)
        given_for_videos = {
            "--codec": codec != "auto",
            "--preset": preset is not None,
            "--pixel-format": pixel_format != "auto",
            "--start": start is not None,
            "--end": end is not None,
            "--frame-rate": frame_rate is not None,
            "--deinterlace": deinterlace is not Deinterlace.auto,
            "--restart": restart,
            "--keep-partial": keep_partial,
        }
        for sentence in without_effect(images, videos, given_for_videos, quality is not None):
            warn(sentence)
        factor = None if size is None else size.common_factor
        fixed = model is not None or denoise is not None
        spec = UpscalerSpec(model or bundled_for(factor), mean, base_window, denoise=denoise)
        names = device_names(devices) if devices else []
        choose_device(names[0] if names else device)
        with ExitStack() as stack:
            bars = stack.enter_context(progress_bar(console, hidden=quiet))
            stack.enter_context(warnings_once(console, warning_event))
            journal = _journal(jobs, sources, target, spec.name if fixed else AUTOMATIC)
            results = Results(
                console,
                len(jobs),
                quiet=quiet,
                debug=debug,
                keep_times=keep_times,
                journal=journal,
                events=as_json,
            )
            settings = {
                "precision": precision.value,
                "tile": tile,
                "overlap": overlap,
                "batch": batch,
                "seamless": seamless.value,
                "self_ensemble": self_ensemble,
                "compile": compile.value,
                "threads": threads,
            }
            upscalers = Upscalers(
                replace(spec, settings=tuple(settings.items())),
                fixed=fixed,
                factor=factor,
                device=device,
                devices=names,
                cluster=cluster,
                stack=stack,
                inform=(lambda sentence: None) if quiet else partial(say, console),
                warn=warn,
            )
            video_options = {
                "size": size,
                "encoder": encoder,
                "span": Span(start, end),
                "source_options": SourceOptions(frame_rate=frame_rate, deinterlace=deinterlace.value),
                "overwrite": overwrite,
                "skip_existing": skip_existing,
                "journal": journal,
                "warn": warn,
                "job": JobOptions(restart=restart, keep_partial=keep_partial),
            }
            image_options = {
                "size": size,
                "quality": quality or DEFAULT_IMAGE_QUALITY,
                "overwrite": overwrite,
                "skip_existing": skip_existing,
                "journal": journal,
            }
            if dry_run:
                plan = DryRun(console, bars, len(jobs), quiet=quiet, debug=debug, events=as_json)
                for degraded, group in upscalers.groups(images).items():
                    upscaler = upscalers.choice.upscaler(degraded=degraded)
                    plan.add_images(group, upscaler, devices=len(names) or 1, **image_options)
                for degraded, group in upscalers.groups(videos).items():
                    upscaler = upscalers.choice.upscaler(degraded=degraded)
                    plan.add_videos(group, upscaler, devices=len(names) or 1, **video_options)
                plan.exit(jobs[0].target.parent)
            progress = UpscaleProgress(console, bars, len(images), videos, quiet=quiet, events=as_json)
            if len(names) < 2:
                outcomes = upscale_image_files(images, upscalers.choice, **image_options, progress=progress.tiles)
            else:
                outcomes = chain.from_iterable(
                    upscale_image_files_with(
                        upscalers.pool(degraded=degraded),
                        group,
                        identity=upscalers.choice.upscaler(degraded=degraded).identity(),
                        **image_options,
                    )
                    for degraded, group in upscalers.groups(images).items()
                )
            for outcome in outcomes:
                progress.file_finished(computed=outcome.error is None and not outcome.skipped)
                results.add_image(outcome)
            for video_outcome in upscale_video_files(
                videos,
                upscalers.choice,
                pool_of=upscalers.video_pool_of,
                **video_options,
                progress=progress.frame,
                inform=partial(say, console),
            ):
                progress.file_finished(computed=video_outcome.report is not None)
                results.add_video(video_outcome)
        results.exit()


def _jobs(sources: list[Path], target: str, format: str | None) -> list[FileJob]:
    from ..images.hints import is_address
    from ..images.jobs import FileJob, plan_jobs
    from ..video.kinds import VIDEO_SUFFIXES, is_pattern

    if len(sources) == 1 and is_pattern(sources[0]) and not is_address(sources[0]) and not is_address(target):
        return [FileJob(sources[0], Path(target))]
    return plan_jobs(sources, target, format=format, video_suffixes=VIDEO_SUFFIXES)


def _journal(jobs: list[FileJob], sources: list[Path], target: str, model_name: str) -> Journal | None:
    """Return the journal of a target folder; None for a single file, whose existence says enough."""
    from .. import __version__
    from ..images.journal import Journal

    if len(jobs) < 2 and not any(source.is_dir() for source in sources):
        return None
    return Journal(target, jobs, sources=sources, version=__version__, model_name=model_name)
