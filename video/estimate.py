"""Estimate how long a video would take and how large it would be, from a few frames computed; nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from ..images.batch import refuse_dangling_link
from ..images.io.animation import ANIMATION_SUFFIXES
from ..images.io.atomic import check_target, same_file
from ..images.jobs import FileJob
from ..images.journal import Journal, reason_to_skip
from ..images.size import Size
from .batch import video_settings
from .broadcast import open_file
from .errors import VideoError
from .frames import Span, VideoInfo
from .kinds import is_pattern
from .parts.folder import JobFolder, PartRecord
from .parts.job import JobOptions, plan_job
from .parts.plan import Part
from .parts.task import VideoTask
from .read.open import SourceOptions, open_source
from .read.scan import packet_times
from .remux.copier import StreamCopier
from .sample import VideoSample, compute_sample
from .transcode import expected_frames
from .upscale import target_framing
from .write.animation import ANIMATION_CODECS
from .write.encoder_options import EncoderOptions
from .write.images import existing_of
from .write.open import choose_encoding, container_of, wants_even_sides

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

SAMPLE_SECONDS = 15.0
"""About how long frames are computed for an estimate, once two batches of them are done."""
_KEY_FRAME_INTERVAL = 250
"""Frames between key frames, as encoders place them at most."""
_SOUND_SECONDS = 20
"""How much of audio and other streams is read to learn their size."""


@dataclass(frozen=True)
class VideoEstimate:
    """A video as it would be made.

    Attributes:
        source_size, target_size: (width, height).
        encoder, pixel_format: FFmpeg's names.
        frames: number of frames; None if the source does not tell.
        parts: number of parts that survive an interruption; 1 for a video that is made in one piece.
        parts_done, frames_done: of an interrupted run, which need not be computed again.
        seconds: estimated time of the run, without loading the model; None if the number of frames is unknown.
        bytes: estimated size of the file with all of its streams, or None.
        sample: the frames that were computed for it.
    """

    source_size: tuple[int, int]
    target_size: tuple[int, int]
    encoder: str
    pixel_format: str
    frames: int | None
    parts: int
    parts_done: int
    frames_done: int
    seconds: float | None
    bytes: int | None
    sample: VideoSample


@dataclass(frozen=True)
class PlannedVideo:
    """A job and its estimate, or the error that it would fail with, or why it would be skipped."""

    job: FileJob
    estimate: VideoEstimate | None = None
    error: Exception | None = None
    skipped: str = ""


def estimate_video(
    source: str | Path,
    target: str | Path,
    upscaler: Upscaler,
    *,
    encoder: EncoderOptions = EncoderOptions(),
    size: Size | str | None = None,
    span: Span = Span(),
    source_options: SourceOptions = SourceOptions(),
    overwrite: bool = False,
    warn: Callable[[str], None] = lambda _: None,
    job: JobOptions = JobOptions(),
    devices: int = 1,
    seconds: float = SAMPLE_SECONDS,
) -> VideoEstimate:
    """Compute a few frames of a video and estimate the whole. Nothing is written but temporary files.

    Args:
        source: path of a video, an animation or numbered images.
        target, upscaler, encoder, size, span, source_options, overwrite, job: as `upscale_video` takes them.
        warn: called with the sentences that the run would begin with.
        devices: number of devices that share the parts, each as fast as the upscaler's.
        seconds: about how long to compute, once two batches of frames are done.

    Raises:
        VideoError, SizeError, UpscaleError, ValueError: as `upscale_video`, as far as these are known by then.
    """
    source, target = Path(source), Path(target)
    frames = open_source(source, source_options, span=span, warn=warn)
    try:
        info = frames.info
    finally:
        frames.close()
    even = wants_even_sides(target, info, encoder)
    framing = target_framing(Size.coerce(size), info, upscaler.scale, even=even)
    task = VideoTask(source, target, framing, encoder, span, source_options)
    is_animation = target.suffix.lower() in ANIMATION_SUFFIXES and info.codec in ANIMATION_CODECS
    parts: list[Part] = []
    done: list[PartRecord] = []
    names = ("png", "rgb") if is_pattern(target) else (target.suffix.lower().lstrip("."), "rgb")
    copied = 0.0
    if is_pattern(target):
        _check_images(source, target, overwrite=overwrite)
    else:
        check_target(target, overwrite=overwrite, sources=[source], error=VideoError)
        if not is_animation:
            container = container_of(target)
            encoding = choose_encoding(target, info, task.frames(info), encoder, warn=warn)[1]
            names = encoding.encoder, encoding.pixel_format.name
            if info.stream_index is not None:
                StreamCopier(source, info.stream_index, container, span=span.shifted(info.origin), warn=warn).close()
                copied = _copied_bytes(source, info)
            parts = plan_job(task, info, encoding, job.part_seconds)
            if parts and not job.restart:
                done = _records(target, task.identity(upscaler.identity(), encoding), parts)
    total = sum(part.expected for part in parts) if parts else _frames_of(task, info)
    sample = compute_sample(task, info, upscaler, seconds=seconds)
    frames_done = sum(record.frames for record in done)
    left = None if total is None else max(0, total - frames_done)
    keys = 0 if left is None else max(len(parts) - len(done), math.ceil(left / _KEY_FRAME_INTERVAL))
    workers = min(devices, len(parts)) if parts else 1
    seconds_left = total_bytes = None
    if left is not None:
        seconds_left = left * sample.frame_seconds / workers + (sample.warm_up_seconds if left else 0.0)
        bytes_done = sum(sum(record.sizes) for record in done)
        total_bytes = round(bytes_done + sample.size_of(left, keys) + sample.header_bytes + copied)
    return VideoEstimate(
        source_size=(info.width, info.height),
        target_size=framing.size,
        encoder=names[0],
        pixel_format=names[1],
        frames=total,
        parts=max(1, len(parts)),
        parts_done=len(done),
        frames_done=frames_done,
        seconds=seconds_left,
        bytes=total_bytes,
        sample=sample,
    )


def estimate_video_files(
    jobs: Iterable[FileJob],
    upscaler: Upscaler,
    *,
    skip_existing: bool = False,
    journal: Journal | None = None,
    devices: int = 1,
    seconds: float = SAMPLE_SECONDS,
    **options: Any,
) -> Iterator[PlannedVideo]:
    """Yield for each job its estimate, or why it would be skipped or fail.

    Args:
        jobs: sources and targets.
        upscaler: used for all of them.
        skip_existing, journal: as `upscale_video_files` takes them.
        devices: number of devices that share the parts of a video.
        seconds: about how long to compute in all; each video takes two batches of frames at least.
        **options: as `estimate_video` takes them.
    """
    jobs = list(jobs)
    settings = upscaler.identity() | video_settings(options) if jobs and journal is not None else {}
    overwrite = options.get("overwrite", False)
    for job in jobs:
        try:
            refuse_dangling_link(job.source)
            skipped = reason_to_skip(
                job, journal, settings, skip_existing=skip_existing, overwrite=overwrite, error=VideoError
            )
            if skipped:
                yield PlannedVideo(job, skipped=skipped)
                continue
            share = seconds / len(jobs)
            estimate = estimate_video(job.source, job.target, upscaler, devices=devices, seconds=share, **options)
        except Exception as error:
            yield PlannedVideo(job, error=error)
            continue
        yield PlannedVideo(job, estimate)


def _check_images(source: Path, target: Path, *, overwrite: bool) -> None:
    """Raise VideoError for numbered images that exist, or that are read."""
    sources = existing_of(source) if is_pattern(source) else [source]
    for existing in existing_of(target):
        if not overwrite:
            raise VideoError(f"{existing} exists already. Pass --overwrite (overwrite=True) to replace images.")
        if any(same_file(existing, each) for each in sources):
            raise VideoError(f"{existing} is one of the sources, which are never overwritten. Choose another target.")


def _records(target: Path, identity: dict[str, str], parts: list[Part]) -> list[PartRecord]:
    """Return the records of the parts that an interrupted run of this very job has finished."""
    for folder in JobFolder.find(target):
        if folder.job["identity"] == identity and folder.parts == parts:
            return [record for _, record in folder.done()]
    return []


def _frames_of(task: VideoTask, info: VideoInfo) -> int | None:
    """Return how many frames a video in one piece has: as its packets say, else as its header does."""
    if info.stream_index is not None and info.frames is None:
        with suppress(VideoError):
            if (times := packet_times(task.source, task.source_options.stream)) is not None and len(times.pts):
                stop = None if task.span.end is None else (task.span.end + info.origin) / info.time_base
                end = len(times.pts) if stop is None else int(np.searchsorted(times.pts, math.ceil(stop)))
                return max(1, end - int(np.searchsorted(times.pts, info.start_pts)))
    return expected_frames(info)


def _copied_bytes(source: Path, info: VideoInfo) -> float:
    """Estimate the size of the other streams by their first packets; streams that are converted count as they are."""
    length = (info.duration or 0) * info.time_base
    size, first, last = 0, None, Fraction(0)
    with open_file(source).container as container, suppress(av.FFmpegError, OSError):
        others = [stream for stream in container.streams if stream.index != info.stream_index]
        for packet in container.demux(others) if others else ():
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            last = max(last, packet.pts * packet.time_base)
            first = last if first is None else first
            size += packet.size
            if last - first > _SOUND_SECONDS:
                return size * float(length / (last - first))
    read = last - first if first is not None else Fraction(0)
    return size * min(1.0, float(length / read)) if read else float(size)
