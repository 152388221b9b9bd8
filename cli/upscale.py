"""`supertile upscale`: images and videos."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .console import USAGE, errors_as_sentences, say, termination_cleans_up, warnings_once
from .display import progress_bar
from .dry_run import DryRun
from .events import print_event
from .given import given_options
from .mistakes import check_combination, check_encoder_names
from .options import (
    BaseWindow,
    Batch,
    Blend,
    Cluster,
    Compile,
    CompileOption,
    Debug,
    Deinterlace,
    Denoise,
    Device,
    Devices,
    Format,
    KeepColors,
    MaskOption,
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
    Strength,
    Then,
    Threads,
    Tile,
    UpscaleModel,
    parse_rate,
    parse_time,
)
from .plan import journal_of, planned_jobs
from .progress import UpscaleProgress
from .results import Results

if TYPE_CHECKING:
    from .result_values import ResultValues

VIDEOS = "Videos"
DEFAULT_IMAGE_QUALITY = 95
AUTOMATIC = "chosen by the source"


def upscale(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SRC...", help="Images, videos, folders of them, or numbered images (frames/%06d.png)."),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST",
            help="File or folder to write to; end the name of a new folder in /. {stem}, {suffix}, {name}, {parent}, "
            "{model}, {scale}, {width} and {height} stand for those of each source and result: out/{stem}_{scale}x.",
        ),
    ],
    model: UpscaleModel = None,
    model_folder: ModelFolder = None,
    denoise: Denoise = None,
    blend: Blend = None,
    then: Then = None,
    strength: Strength = 1.0,
    keep_colors: KeepColors = False,
    mask: MaskOption = None,
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
    compile: CompileOption = Compile.verified,
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
            help="Quality of JPEG, WebP (100: lossless), AVIF, JPEG XL and videos. Default: 95 for images, 90 for "
            "videos.",
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
    *,
    context: typer.Context,
) -> None:
    """Upscale images and videos.

    One file is written to a file or into a folder, several files into a folder, and folders into a folder with their
    structure kept. A folder or video that was interrupted is continued by the same
    command.
    """
    with errors_as_sentences(debug, stdout_is_the_result=False), termination_cleans_up():
        console = Console(stderr=True)
        given = given_options(context)
        if "--device" in given and "--devices" not in given:
            devices = None  # from a configuration file
        if len({"--skip-existing", "--overwrite"} & given) == 1:
            skip_existing, overwrite = "--skip-existing" in given, "--overwrite" in given
        if skip_existing and overwrite:
            say(console, "--skip-existing and --overwrite exclude each other.")
            raise typer.Exit(USAGE)

        def warning_event(sentence: str) -> None:
            if as_json:
                print_event("warning", message=sentence)

        def warn(sentence: str) -> None:
            say(console, f"Warning: {sentence}")
            warning_event(sentence)

        fixed = model is not None or denoise is not None

        @cache
        def result_values() -> ResultValues:
            from .result_values import ResultValues  # imports torch

            return ResultValues(
                model if fixed else None,
                size,
                mean=mean,
                base_window=base_window,
                codec=codec,
                pixel_format=pixel_format,
                frame_rate=frame_rate,
            )

        if codec != "auto" or preset is not None:
            check_encoder_names(codec, preset)  # imports torch
        check_combination(model is not None or denoise is not None, {"--blend": bool(blend), "--then": bool(then)})
        with warnings_once(console, warning_event):
            jobs = planned_jobs(
                sources,
                target,
                None if format is None else format.value,
                lambda source, result: result_values().of(source, result),
            )

        from ..images.batch import upscale_image_files
        from ..images.pool_batch import upscale_image_files_with
        from ..inference.pool import device_names
        from ..inference.spec import UpscalerSpec
        from ..inference.upscaler import choose_device
        from ..video.batch import remove_leftovers, upscale_video_files
        from ..video.frames import Span
        from ..video.kinds import is_pattern, split_jobs
        from ..video.parts.job import JobOptions
        from ..video.read.open import SourceOptions
        from ..video.write.encoder_options import EncoderOptions
        from ..weights.bundle import bundled_for
        from .upscalers import Upscalers
        from .without_effect import without_effect

        if not dry_run:
            remove_leftovers(jobs)
        encoder = EncoderOptions(
            codec=codec,
            quality=quality or EncoderOptions.quality,
            preset=preset or EncoderOptions.preset,
            pixel_format=pixel_format,
        )
        is_numbered = any(is_pattern(job.source) for job in jobs)
        images, videos = split_jobs(jobs)
        wraps = seamless is not Seamless.none
        for sentence in without_effect(images, videos, given, codec=codec, tile=tile, seamless=wraps, model=model):
            warn(sentence)
        factor = None if size is None else size.common_factor
        spec = UpscalerSpec(
            model or bundled_for(factor), mean, base_window, denoise=denoise, blend=blend, then=tuple(then or ())
        )
        names = device_names(devices) if devices else []
        choose_device(names[0] if names else device)
        with ExitStack() as stack:
            bars = stack.enter_context(progress_bar(console, hidden=quiet))
            stack.enter_context(warnings_once(console, warning_event))
            journal = journal_of(jobs, sources, target, spec.name if fixed else AUTOMATIC)
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
                "strength": strength,
                "keep_colors": keep_colors,
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
                "source_options": SourceOptions(
                    frame_rate=frame_rate if is_numbered else None, deinterlace=deinterlace.value
                ),
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
                "mask": mask,
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
            if not quiet:
                for note in upscalers.notes():
                    say(console, note)
        results.exit()
