"""`upscale_video`: one video file, or frames from elsewhere, to a larger video file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..images.size import Size
from ..inference.errors import Cancelled
from . import pipeline
from .frame_upscaler import FrameUpscaler, pinned, wait_for
from .frames import Frame, FrameSink, FrameSource, VideoInfo, is_turned
from .priority import in_background
from .read.file import exact_seconds
from .read.open import open_source
from .read.shared_file import views
from .report import VideoProgress, VideoReport
from .write.open import open_target

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)


def upscale_video(
    source: str | Path | BinaryIO | Iterable[Any],
    target: str | Path,
    upscaler: Upscaler,
    *,
    codec: str = "auto",
    quality: float | None = None,
    preset: str | None = None,
    pixel_format: str = "auto",
    bit_depth: int | None = None,
    size: Size | str | None = None,
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
    frame_rate: Fraction | float | None = None,
    deinterlace: str = "auto",
    stream: int | None = None,
    reuse_static: bool = True,
    overwrite: bool = False,
    streams_from: str | Path | BinaryIO | None = None,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[VideoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
) -> VideoReport:
    """Upscale a video: decoding, upscaling and encoding at the same time, in memory that does not grow with its length.

    Args:
        source: path of a video file, of an animation (GIF, APNG, WebP) or of numbered images (`frames/%06d.png`); a
            seekable binary file; or an iterable of RGB frames, as `ArrayReader` takes them, with `frame_rate`.
        target: path of an .mp4, .mkv, .mov or .webm file, or of numbered images. It appears when it is complete.
        codec: "h264", "hevc", "av1", "vp9", "prores", "ffv1", one of their "_nvenc" variants, or "auto": the first
            that the container holds (H.264; VP9 in WebM).
        quality: 1 to 100, the same scale for every codec. None: not told from the source by eye.
        preset: from "ultrafast" to "veryslow". None: "medium".
        pixel_format: FFmpeg's name; "auto" keeps the source's depth, subsampling and transparency where it can.
        bit_depth: what `pixel_format="auto"` is to hold; None is the source's.
        size: as `Size.parse` takes it ("2x", "1920x1080", "4k"), of the frames as they are shown: videos from phones
            are often stored turned. None is the model's scale. The model is run again on its own result while that is
            smaller, then one resampling gives the exact size.
        start, end: seconds from the first frame; frames with start <= time < end, and the other streams with them.
        frame_rate: of numbered images or an iterable; a file has its own times.
        deinterlace: "auto" (frames flagged interlaced), "yes" or "no".
        stream: which of the video streams of a file, from 0; None is the default one, else the largest. The others
            are copied.
        reuse_static: do not compute again a tile that equals the same tile of the frame before, to the bit. The
            results are the same.
        overwrite: replace `target` if it exists. The source is never replaced.
        streams_from: file whose sound, subtitles and so on go along, at their own times; None is `source` itself. For
            frames from memory, which have none.
        metadata: further tags for the file.
        progress: called in the caller's thread after each frame that has been upscaled.
        cancelled: asked before every batch of tiles; when it returns True, the job ends with `Cancelled`. What it
            raises goes through.
        warn: called with one sentence for whatever cannot be kept as it was. Default: the log. The sentences are in the
            report as well.

    Raises:
        VideoError: the source cannot be read, or the target not be written as asked. One sentence.
        SizeError: a size that means nothing.
        UpscaleError: the model cannot take such frames, or memory does not suffice for the smallest tile.
        Cancelled: `cancelled` said so.
        ValueError: an argument outside of what is listed here.
    After any of them, nothing has changed under the target's name.
    """
    warnings: list[str] = []

    def say(sentence: str) -> None:
        warnings.append(sentence)
        (warn or _log.warning)(sentence)

    beside: Any = source  # the same file, for the streams beside the image
    if hasattr(source, "read") and hasattr(source, "seek"):
        source, beside = views(source, 2)  # type: ignore[arg-type]
    frames = open_source(
        source, frame_rate=frame_rate, start=start, end=end, deinterlace=deinterlace, stream=stream, warn=say
    )
    try:
        info = frames.info
        width, height = target_size(Size.coerce(size), info, upscaler.scale)
        if info.stream_index is None:
            beside = streams_from
        elif streams_from is not None:
            raise ValueError(f"streams_from is for frames without a file; {info.name} has streams of its own.")
        open_sink = partial(
            open_target,
            target,
            info,
            codec=codec,
            quality=quality,
            preset=preset,
            pixel_format=pixel_format,
            width=width,
            height=height,
            layout=info.layout if bit_depth is None else replace(info.layout, depth=bit_depth),
            color=info.color,
            overwrite=overwrite,
            copy_from=beside,
            start=None if start is None else info.origin + exact_seconds(start),
            end=None if end is None else info.origin + exact_seconds(end),
            warn=say,
            metadata=metadata,
        )
        sink = in_background(open_sink, undo=lambda sink: sink.discard())
        try:
            report = _run(frames, sink, upscaler, str(target), reuse_static, progress, cancelled, warnings)
        except BaseException:
            sink.discard()
            raise
    finally:
        frames.close()
    _log.info("%s", report.summary())
    return report


def _run(
    source: FrameSource,
    sink: FrameSink,
    upscaler: Upscaler,
    target: str,
    reuse_static: bool,
    progress: Callable[[VideoProgress], None] | None,
    cancelled: Callable[[], bool] | None,
    warnings: list[str],
) -> VideoReport:
    info = source.info
    larger = FrameUpscaler(
        upscaler,
        info,
        sink.layout,
        sink.color,
        width=sink.width,
        height=sink.height,
        reuse_static=reuse_static,
        cancelled=cancelled,
    )
    computed, reused = upscaler.stats.tiles_computed, upscaler.stats.tiles_reused
    total = expected_frames(info)
    done = 0
    started = time.perf_counter()
    first: int | None = None
    end = 0

    def upscale(frames: Iterator[Frame]) -> Generator[Frame, None, None]:
        nonlocal done
        for frame in larger.run(frames):
            yield frame
            done += 1
            if progress is not None:
                expected = None if total is None else max(total, done)
                progress(VideoProgress(done, expected, time.perf_counter() - started, sink.bytes_written))

    def write(frame: Frame) -> None:
        nonlocal first, end
        wait_for(frame)
        sink.write(frame)
        first = frame.pts if first is None else first
        end = max(end, frame.pts + frame.duration)

    def check() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("the upscaling was cancelled")

    times = pipeline.run(map(pinned(upscaler.device), source), upscale, write, sink.finish, cancelled=check)
    return VideoReport(
        source=info.name,
        target=target,
        frames=done,
        source_size=(info.width, info.height),
        target_size=(sink.width, sink.height),
        duration=(end - (first or 0)) * info.time_base,
        encoder=sink.encoder,
        pixel_format=sink.pixel_format,
        times=times,
        read=source.report,
        tiles_computed=upscaler.stats.tiles_computed - computed,
        tiles_reused=upscaler.stats.tiles_reused - reused,
        warnings=warnings,
    )


def target_size(size: Size, info: VideoInfo, scale: int) -> tuple[int, int]:
    """Return width and height of the frames to be written, as they are stored. Raises SizeError."""
    turned = is_turned(info.display_matrix)
    shown = size.of(*((info.height, info.width) if turned else (info.width, info.height)), scale)
    return (shown[1], shown[0]) if turned else shown


def expected_frames(info: VideoInfo) -> int | None:
    """How many frames will come: declared, else by duration and nominal rate, else unknown."""
    if info.frames is not None:
        return info.frames
    if info.duration is None or not info.frame_rate:
        return None
    return max(1, round(info.duration * info.time_base * info.frame_rate))
