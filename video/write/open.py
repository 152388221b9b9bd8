"""Where a video goes: a file, its container told by the suffix, or a folder of numbered images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ...images.io.atomic import check_target
from ..container import SUFFIXES
from ..errors import VideoError
from ..frames import Color, FrameSink, Layout, VideoInfo
from ..kinds import is_pattern
from ..remux.copier import StreamCopier
from .encoders import choose_encoder
from .file import VideoWriter
from .images import ImageSequenceWriter, existing_of

_log = logging.getLogger(__name__)
_CONTAINERS = {suffix: container for container, suffix in SUFFIXES.items()} | {".m4v": "mp4"}


def container_of(target: Path) -> str:
    """FFmpeg's muxer for a file name. Raises VideoError for a suffix that names none of ours."""
    if (container := _CONTAINERS.get(target.suffix.lower())) is None:
        what = f"the suffix {target.suffix!r}" if target.suffix else "no suffix"
        raise VideoError(
            f"{target} has {what}, which names no container that can be written: .mp4, .mkv, .mov or .webm, or a "
            "sequence of images like frames/%06d.png."
        )
    return container


def open_target(
    target: str | Path,
    info: VideoInfo,
    *,
    codec: str = "auto",
    quality: float | None = None,
    preset: str | None = None,
    pixel_format: str = "auto",
    width: int,
    height: int,
    layout: Layout,
    color: Color,
    overwrite: bool = False,
    copy_from: str | Path | BinaryIO | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
    warn: Callable[[str], None] = _log.warning,
    metadata: Mapping[str, str] | None = None,
) -> FrameSink:
    """A sink for frames of width x height; all that can be refused without a frame is refused here.

    info: of the source: its time base, frame rate, sample aspect ratio, display matrix and static HDR are kept.
    codec, quality, preset, pixel_format: as `choose_encoder` takes them.
    layout, color: of the frames there are. The sink's own `layout` and `color` say what it wants them converted to.
    copy_from: the file the other streams come from: everything but its stream `info.stream_index`.
    start, end: seconds on the source's clock, the interval the frames come from. With a `start` everything is moved
        so that it is at 0; without, offsets stay as they are. Frames are given with the source's own pts.
    warn: called with one sentence for each thing that cannot be kept.
    Raises VideoError.
    """
    target = Path(target)
    sources = [Path(copy_from)] if isinstance(copy_from, (str, Path)) else [Path(info.name)]
    if is_pattern(target):
        if codec not in ("auto", "png") or pixel_format != "auto":
            raise VideoError(f"{target} are PNG images: codec and pixel format are not to be chosen.")
        return ImageSequenceWriter(
            target, info, layout, color, width=width, height=height, overwrite=overwrite,
            sources=_images_among(sources), warn=warn,
        )  # fmt: skip
    container = container_of(target)
    check_target(target, overwrite=overwrite, sources=sources, error=VideoError)
    try:
        encoding = choose_encoder(
            codec, container, layout, width, height,
            color=color, quality=quality, preset=preset, pixel_format=pixel_format, hdr=info.hdr, warn=warn,
        )  # fmt: skip
    except VideoError as error:
        raise VideoError(f"{target}: {error}") from None
    shift = math.floor(start / info.time_base) if start is not None else 0
    copied = None
    if copy_from is not None:
        copied = StreamCopier(
            copy_from, info.stream_index, container,
            start=start, end=end, shift=shift * Fraction(info.time_base), warn=warn,
        )  # fmt: skip
    return VideoWriter(
        target, info, encoding, encoding.color,
        width=width,
        height=height,
        sample_aspect_ratio=scaled_aspect_ratio(info, width, height),
        overwrite=overwrite,
        copied=copied,
        metadata=metadata,
        shift=shift,
    )  # fmt: skip


def _images_among(sources: list[Path]) -> list[Path]:
    """Sources as files: a pattern stands for all that it names."""
    return [file for source in sources for file in (existing_of(source) if is_pattern(source) else [source])]


def scaled_aspect_ratio(info: VideoInfo, width: int, height: int) -> Fraction:
    """The sample aspect ratio that keeps the image's shape at another size.

    That of the source where both sides grow alike, up to the rounding of a pixel.
    """
    ratio = Fraction(info.sample_aspect_ratio or 1)
    off = abs(width * info.height - height * info.width)  # 0 where the shape is the same
    if off <= max(info.width, info.height):  # a pixel more or less in width or height
        return ratio
    return (ratio * info.width * height / (info.height * width)).limit_denominator(1000)
