"""`upscale_video`: upscale a video file, or frames from another source, into a video file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..images.size import Size
from ..inference.errors import Cancelled, OutOfMemoryError, is_out_of_memory
from . import pipeline
from .frame_upscaler import FrameUpscaler, pinned, wait_for
from .frames import Frame, FrameSink, FrameSource, Span, VideoInfo, is_turned
from .priority import in_background
from .read.open import SourceOptions, open_source
from .read.shared_file import views
from .report import VideoProgress, VideoReport
from .write.encoder_options import EncoderOptions
from .write.open import open_target, wants_even_sides

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)


def upscale_video(
    source: str | Path | BinaryIO | Iterable[Any],
    target: str | Path,
    upscaler: Upscaler,
    *,
    encoder: EncoderOptions = EncoderOptions(),
    size: Size | str | None = None,
    span: Span = Span(),
    source_options: SourceOptions = SourceOptions(),
    reuse_static: bool = True,
    overwrite: bool = False,
    streams_from: str | Path | BinaryIO | None = None,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[VideoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
) -> VideoReport:
    """Upscale a video. Decoding, upscaling and encoding overlap, in memory that does not grow with the video's length.

    Args:
        source: path of a video file, of an animation (GIF, APNG, WebP) or of numbered images (`frames/%06d.png`); a
            seekable binary file; or an iterable of RGB frames as `ArrayReader` takes them.
        target: path of an .mp4, .mkv, .mov or .webm file, or of numbered images. It appears when it is complete.
        upscaler: the model with its device and precision.
        encoder: codec, quality, preset, pixel format and bit depth; see `EncoderOptions`.
        size: size of the video as displayed, which is rotated for many videos from phones: "2x", "1920x1080", "4k"
            and so on, as `Size.parse` takes it. None: the model's scale. The model runs on its own result as long as
            that is too small, then one resampling gives the exact size.
        span: seconds from the first frame; frames with start <= time < end are upscaled, and the other streams are cut
            to match.
        source_options: frame rate of images, deinterlacing and choice of the video stream; see `SourceOptions`.
        reuse_static: skip tiles that equal the same tile of the previous frame bit for bit. Does not change results.
        overwrite: replace `target` if it exists. The source is never replaced.
        streams_from: file whose audio, subtitles and other streams are added, for a source without streams of its own
            (images or frames in memory).
        metadata: further tags for the file.
        progress: called in the caller's thread after each upscaled frame.
        cancelled: called before every batch of tiles; when it returns True, the job ends with `Cancelled`. Exceptions
            that it raises are passed on.
        warn: called with one sentence for each property that cannot be kept. Default: the log. The report contains
            these sentences as well.

    Raises:
        VideoError: the source cannot be read, or the target cannot be written with these options. One sentence.
        SizeError: `size` is not a size.
        UpscaleError: the model cannot take such frames, or memory does not suffice for the smallest tile.
        Cancelled: `cancelled` returned True.
        ValueError: another argument is out of range.

    After any of them, whatever had the target's name is unchanged.
    """
    warnings: list[str] = []

    def warn_and_keep(sentence: str) -> None:
        warnings.append(sentence)
        (warn or _log.warning)(sentence)

    copy_from: Any = source  # read a second time, for the streams other than the upscaled one
    if hasattr(source, "read") and hasattr(source, "seek"):
        source, copy_from = views(source, 2)  # type: ignore[arg-type]
    frames = open_source(source, source_options, span=span, warn=warn_and_keep)
    try:
        info = frames.info
        even = wants_even_sides(target, info, encoder)
        width, height = target_size(Size.coerce(size), info, upscaler.scale, even=even)
        if info.stream_index is None:
            copy_from = streams_from
        elif streams_from is not None:
            raise ValueError(f"streams_from is for sources without streams of their own; {info.name} has streams.")
        open_sink = partial(
            open_target,
            target,
            info,
            replace(info.format, width=width, height=height),
            encoder,
            span=span.shifted(info.origin),
            copy_from=copy_from,
            metadata=metadata,
            overwrite=overwrite,
            warn=warn_and_keep,
        )
        sink = in_background(open_sink, undo=lambda sink: sink.discard())
        try:
            report = _run(frames, sink, upscaler, str(target), reuse_static, progress, cancelled, warn_and_keep)
        except BaseException:
            sink.discard()
            raise
    finally:
        frames.close()
    _log.info("%s", report.summary())
    return replace(report, warnings=warnings)


def _run(
    source: FrameSource,
    sink: FrameSink,
    upscaler: Upscaler,
    target: str,
    reuse_static: bool,
    progress: Callable[[VideoProgress], None] | None,
    cancelled: Callable[[], bool] | None,
    warn: Callable[[str], None],
) -> VideoReport:
    info = source.info
    frame_upscaler = FrameUpscaler(upscaler, info, sink.format, reuse_static=reuse_static, cancelled=cancelled)
    computed, reused = upscaler.stats.tiles_computed, upscaler.stats.tiles_reused
    total = expected_frames(info)
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
                progress(VideoProgress(done, expected, time.perf_counter() - started, sink.bytes_written))

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
        times = pipeline.run(map(pinned(upscaler.device), source), upscale, write, sink.finish, cancelled=check)
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
        target_size=(sink.format.width, sink.format.height),
        duration=(end - (first or 0)) * info.time_base,
        encoder=sink.encoder,
        pixel_format=sink.pixel_format,
        times=times,
        read=source.report,
        tiles_computed=upscaler.stats.tiles_computed - computed,
        video_streams=info.video_streams,
        tiles_reused=upscaler.stats.tiles_reused - reused,
    )


def target_size(size: Size, info: VideoInfo, scale: int, *, even: bool = False) -> tuple[int, int]:
    """Return (width, height) of the frames to be written, as stored, for a display size. Raises SizeError.

    even: round odd sides to even ones, unless the size is exact or the shape would suffer.
    """
    turned = is_turned(info.display_matrix)
    shown = size.of(*((info.height, info.width) if turned else (info.width, info.height)), scale)
    stored = (shown[1], shown[0]) if turned else shown
    return _even(stored, (info.width, info.height)) if even and not size.is_exact else stored


def _even(size: tuple[int, int], source: tuple[int, int]) -> tuple[int, int]:
    """Return the even size next to `size` that keeps the shape of `source` best, within half a pixel of either."""

    def error(candidate: tuple[int, int]) -> tuple[float, int]:
        return abs(candidate[1] - candidate[0] * source[1] / source[0]), -sum(candidate)

    widths, heights = ((side,) if side % 2 == 0 else (side + 1, max(2, side - 1)) for side in size)
    best = min(((width, height) for width in widths for height in heights), key=error)
    within_source = all(side >= 2 * before for side, before in zip(size, source, strict=True))
    return best if within_source or error(best)[0] <= 0.5 else size


def expected_frames(info: VideoInfo) -> int | None:
    """Return the number of frames: declared, else from duration and nominal frame rate, else None."""
    if info.frames is not None:
        return info.frames
    if info.duration is None or not info.frame_rate:
        return None
    return max(1, round(info.duration * info.time_base * info.frame_rate))
