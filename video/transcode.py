"""Upscale the frames of one source into one sink, with decoding and encoding beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..inference.errors import Cancelled, OutOfMemoryError, is_out_of_memory
from . import pipeline
from .frame_upscaler import FrameUpscaler, pinned, wait_for
from .frames import Frame, FrameSink, FrameSource, VideoInfo
from .memory import frame_shortage
from .report import VideoProgress, VideoReport
from .thumbnail import thumbnail

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

MOST_WAITING_FRAMES = 32
MOST_WAITING_BYTES = 64 * 2**20
"""Of frames that wait for the encoder, three at least. The network goes on while the encoder completes a part."""

_log = logging.getLogger(__name__)


def transcode(
    source: FrameSource,
    sink: FrameSink,
    upscaler: Upscaler,
    target: str,
    *,
    reuse_static: bool = True,
    progress: Callable[[VideoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] = _log.warning,
) -> VideoReport:
    """Run a job to its end; both source and sink are left to the caller to close.

    Args:
        source, sink: frames in and out.
        upscaler: the model.
        target: for the report.
        reuse_static, progress, cancelled, warn: as `upscale_video` takes them.

    Raises:
        VideoError, UpscaleError, Cancelled: as `upscale_video`.
    """
    info = source.info
    target_size = sink.format.width, sink.format.height
    framing = sink.format.whole
    shortage = frame_shortage(
        (info.width, info.height), framing.scaled, upscaler.scale, upscaler.device, finished=upscaler.finish.active
    )
    if shortage is None and not framing.is_whole:  # bars may make it much larger
        shortage = frame_shortage(target_size, target_size, 1, upscaler.device)
    if shortage is not None:
        raise OutOfMemoryError(shortage)
    frame_upscaler = FrameUpscaler(upscaler, info, sink.format, reuse_static=reuse_static, cancelled=cancelled)
    computed, reused = upscaler.stats.tiles_computed, upscaler.stats.tiles_reused
    total = expected_frames(info)
    waiting = MOST_WAITING_BYTES // sink.format.layout.bytes_of(*target_size)
    done = 0
    started = time.perf_counter()
    first: int | None = None
    end = 0
    captions_dropped = False

    def upscale(frames: Iterator[Frame]) -> Generator[Frame, None, None]:
        nonlocal done
        for frame in frame_upscaler.run(frames):
            yield frame
            done += 1
            if progress is not None:
                expected = None if total is None else max(total, done)
                small = partial(thumbnail, frame, sink.format)
                seconds = time.perf_counter() - started
                progress(VideoProgress(done, expected, seconds, sink.bytes_written, thumbnail=small))

    def write(frame: Frame) -> None:
        nonlocal first, end, captions_dropped
        wait_for(frame)
        if frame.captions is not None and not sink.holds_captions and not captions_dropped:
            captions_dropped = True
            warn(
                f"{info.name} has closed captions (CEA-608 or CEA-708) inside its video stream. They are dropped, "
                f"because {sink.encoder} cannot write them; h264 and hevc can."
            )
        sink.write(frame)
        first = frame.pts if first is None else first
        end = max(end, frame.pts + frame.duration)

    def check() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("the upscaling was cancelled")

    try:
        times = pipeline.run(
            map(pinned(upscaler.device), source),
            upscale,
            write,
            sink.finish,
            upscaled_depth=min(max(3, waiting), MOST_WAITING_FRAMES),
            cancelled=check,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory for frames of {sink.format.width}x{sink.format.height} pixels; close other "
            "programs, use another device, or choose a smaller size"
        ) from error
    return VideoReport(
        source=info.name,
        target=target,
        frames=done,
        source_size=(info.width, info.height),
        target_size=target_size,
        duration=(end - (first or 0)) * info.time_base,
        encoder=sink.encoder,
        pixel_format=sink.pixel_format,
        times=times,
        read=source.report,
        tiles_computed=upscaler.stats.tiles_computed - computed,
        video_streams=info.video_streams,
        tiles_reused=upscaler.stats.tiles_reused - reused,
    )


def expected_frames(info: VideoInfo) -> int | None:
    """Return the number of frames: declared, else from duration and nominal frame rate, else None."""
    if info.frames is not None:
        return info.frames
    if info.duration is None or not info.frame_rate:
        return None
    return max(1, round(info.duration * info.time_base * info.frame_rate))
