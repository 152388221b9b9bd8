"""Open the target of a job: a video file, with its container by suffix, or numbered images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ...images.io.animation import ANIMATION_SUFFIXES
from ...images.io.atomic import check_target
from ..container import SUFFIXES
from ..errors import VideoError
from ..frames import FrameFormat, FrameSink, Span, VideoInfo
from ..kinds import is_pattern
from ..matroska import fitting_geometry
from ..remux.copier import StreamCopier
from .animation import ANIMATION_CODECS, AnimationWriter
from .encoder_options import EncoderOptions
from .encoders import Encoding, choose_encoder, codec_of
from .file import VideoWriter
from .images import ImageSequenceWriter, existing_of

_log = logging.getLogger(__name__)
_CONTAINERS = {suffix: container for container, suffix in SUFFIXES.items()} | {".m4v": "mp4"}


def container_of(target: Path) -> str:
    """Return FFmpeg's muxer for a file name. Raises VideoError for an unknown suffix."""
    if (container := _CONTAINERS.get(target.suffix.lower())) is None:
        suffix = f"the unknown suffix {target.suffix!r}" if target.suffix else "no suffix"
        raise VideoError(
            f"{target} has {suffix}. Choose .mp4, .mkv, .mov or .webm, or numbered images such as frames/%06d.png."
        )
    return container


def wants_even_sides(target: str | Path, info: VideoInfo, encoder: EncoderOptions) -> bool:
    """Return True if frames for a target should have even sides, so that they can be written in 4:2:0 and play."""
    container = _CONTAINERS.get(Path(target).suffix.lower())
    if container is None or is_pattern(Path(target)):
        return False
    is_420 = encoder.pixel_format == "auto" or encoder.pixel_format.startswith(("yuv420", "nv12", "p010"))
    return is_420 and codec_of(container, encoder, info.layout) in ("h264", "hevc")


def choose_encoding(
    target: Path,
    info: VideoInfo,
    frames: FrameFormat,
    encoder: EncoderOptions = EncoderOptions(),
    *,
    warn: Callable[[str], None] = _log.warning,
) -> tuple[VideoInfo, Encoding]:
    """Return (the properties of the source that a video file can keep, the encoder of its frames).

    Args:
        target: path of an .mp4, .mkv, .mov, .webm or .m4v file.
        info: of the source.
        frames: size, layout and color of the upscaled frames.
        encoder: options; `bit_depth` replaces that of `frames`.
        warn: called with one sentence for each property that cannot be kept.

    Raises:
        VideoError: the file cannot be written with these options.
    """
    container = container_of(target)
    if encoder.bit_depth is not None:
        frames = replace(frames, layout=replace(frames.layout, depth=encoder.bit_depth))
    geometry = fitting_geometry(info.geometry, container)
    if geometry != info.geometry:
        warn(f"The arrangement of the two views (stereo mode) is dropped: {target.suffix} cannot hold it.")
        info = replace(info, geometry=geometry)
    try:
        return info, choose_encoder(frames, container, encoder, hdr=info.hdr, warn=warn)
    except VideoError as error:
        raise VideoError(f"{target}: {error}") from None


def open_target(
    target: str | Path,
    info: VideoInfo,
    frames: FrameFormat,
    encoder: EncoderOptions = EncoderOptions(),
    *,
    span: Span = Span(),
    copy_from: str | Path | BinaryIO | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    warn: Callable[[str], None] = _log.warning,
) -> FrameSink:
    """Open a sink for frames. Whatever can be refused without a frame is refused here.

    Args:
        target: path of an .mp4, .mkv, .mov, .webm or .m4v file, or a pattern of numbered images (frames/%06d.png).
            Animations can also become .gif, .png, .apng and .webp files.
        info: of the source: its time base, frame rate, sample aspect ratio, display matrix and static HDR are kept.
        frames: size, layout and color of the upscaled frames. `FrameSink.format` is what to convert them to.
        encoder: for video files; `bit_depth` for images as well.
        span: the interval that the frames come from, on the source's clock. With a start, all times are moved so that
            it becomes 0; without, only times before 0 are moved. Frames are written with the pts of the source.
        copy_from: file whose streams are copied, all but `info.stream_index`. None: no stream is copied.
        metadata: further global tags.
        overwrite: replace existing files.
        warn: called with one sentence for each property that cannot be kept.

    Raises:
        VideoError: the target cannot be written with these options.
    """
    target = Path(target)
    sources = [Path(copy_from)] if isinstance(copy_from, (str, Path)) else [Path(info.name)]
    if encoder.bit_depth is not None:
        frames = replace(frames, layout=replace(frames.layout, depth=encoder.bit_depth))
    if is_pattern(target):
        if encoder.codec not in ("auto", "png") or encoder.pixel_format != "auto":
            raise VideoError(f"{target} is written as PNG images; --codec and --pixel-format are for video files only.")
        images = _images_among(sources)
        if info.geometry:
            warn(f"{target}: PNG images cannot hold the stereo mode and projection of {info.name}. They are dropped.")
        return ImageSequenceWriter(target, info, frames, overwrite=overwrite, sources=images, warn=warn)
    if target.suffix.lower() in ANIMATION_SUFFIXES and info.codec in ANIMATION_CODECS:
        return AnimationWriter(target, info, frames, quality=round(encoder.quality), overwrite=overwrite, warn=warn)
    container = container_of(target)
    check_target(target, overwrite=overwrite, sources=sources, error=VideoError)
    info, encoding = choose_encoding(target, info, frames, encoder, warn=warn)
    # Without a start, times before 0 are moved to it: MP4 would hide those frames.
    shift = min(0, info.start_pts) if span.start is None else math.floor(span.start / info.time_base)
    copied = None
    if copy_from is not None:
        seconds = shift * Fraction(info.time_base)
        copied = StreamCopier(copy_from, info.stream_index, container, span=span, shift=seconds, warn=warn)
    return VideoWriter(
        target,
        info,
        encoding,
        sample_aspect_ratio=scaled_aspect_ratio(info, *frames.whole.scaled),
        overwrite=overwrite,
        copied=copied,
        metadata=metadata,
        shift=shift,
    )


def _images_among(sources: list[Path]) -> list[Path]:
    """Return the sources as files: for a pattern, all files that it matches."""
    return [file for source in sources for file in (existing_of(source) if is_pattern(source) else [source])]


def scaled_aspect_ratio(info: VideoInfo, width: int, height: int) -> Fraction:
    """Return the sample aspect ratio that keeps the display aspect ratio of frames resampled to another size.

    It is that of the source if both sides grow by the same factor, and 1 for the display size, both up to the rounding
    of a pixel.
    """
    ratio = Fraction(info.sample_aspect_ratio or 1)
    difference = abs(width * info.height - height * info.width)  # 0 for the same shape
    if difference <= max(info.width, info.height):  # within a pixel in width or height
        return ratio
    scaled = ratio * info.width * height / (info.height * width)
    return Fraction(1) if abs(scaled - 1) * min(width, height) <= 1 else scaled.limit_denominator(1000)
