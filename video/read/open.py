"""Open any source of frames: video files, numbered images, animations, frames in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..container import StreamChoice
from ..errors import VideoError
from ..frames import FrameSource, Span
from ..kinds import is_pattern
from .animated_png import AnimatedPngReader, is_deep_png_animation
from .arrays import ArrayReader
from .file import VideoReader, python_warning
from .images import AnimatedWebpReader, ImageSequenceReader, webp_delays


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        frame_rate: frames per second of numbered images and of frames in memory, as `exact_rate` takes it. A file has
            its own times, and must be given none.
        deinterlace: of video files: "auto" (frames that are flagged interlaced), "yes" (all) or "no".
        stream: of video files: which video stream, cover images not counted: its number, from 0; None: the largest of
            those marked as default, or of all if none is; "first": the first of those marked as default, or of all if
            none is.
    """

    frame_rate: Fraction | float | str | None = None
    deinterlace: str = "auto"
    stream: StreamChoice = None


def open_source(
    source: str | Path | BinaryIO | Iterable[Any],
    options: SourceOptions = SourceOptions(),
    *,
    span: Span = Span(),
    warn: Callable[[str], None] = python_warning,
) -> FrameSource:
    """Open a source of frames; the caller closes it.

    Args:
        source: path of a video or animation (GIF, APNG, WebP); a pattern of numbered images ("frames/%06d.png"); a list
            of image files; a seekable binary file object; or an iterable of RGB frames as `ArrayReader` takes them.
        options: frame rate (required for images and for frames in memory), deinterlacing, choice of the stream.
        span: seconds from the first frame; frames with start <= time < end are returned.
        warn: called with one sentence for each kind of problem. Default: Python's warnings.

    Raises:
        VideoError: the source cannot be read, or the frame rate is missing or not allowed.
        TypeError: `source` is none of the above.
        ValueError: an option is out of range.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if is_pattern(path):
            return ImageSequenceReader(path, _needed(options.frame_rate, path), span=span, warn=warn)
        _refuse(options.frame_rate, path)
        if path.is_file() and _is_animated_webp(path):
            return AnimatedWebpReader(path, span=span)
        if path.is_file() and is_deep_png_animation(path):
            return AnimatedPngReader(path, span=span)
        return VideoReader(path, span=span, deinterlace=options.deinterlace, stream=options.stream, warn=warn)
    if hasattr(source, "read"):
        _refuse(options.frame_rate, source)
        return VideoReader(
            cast(BinaryIO, source), span=span, deinterlace=options.deinterlace, stream=options.stream, warn=warn
        )
    if isinstance(source, (list, tuple)) and source and all(isinstance(each, (str, os.PathLike)) for each in source):
        return ImageSequenceReader(source, _needed(options.frame_rate, "a list"), span=span, warn=warn)
    if not isinstance(source, Iterable):
        raise TypeError(f"a video source must be a path, a file object or an iterable, not {type(source).__name__}.")
    return ArrayReader(source, _needed(options.frame_rate, "frames in memory"), span=span)


def _is_animated_webp(path: Path) -> bool:
    try:
        return len(webp_delays(path)) > 0
    except OSError:
        return False  # VideoReader raises the error


def _needed(frame_rate: Fraction | float | str | None, name: object) -> Fraction | float | str:
    if frame_rate is None:
        raise VideoError(f"{name}: a frame rate must be given (--frame-rate), because images have no times.")
    return frame_rate


def _refuse(frame_rate: Fraction | float | str | None, name: object) -> None:
    if frame_rate is not None:
        raise VideoError(f"{name}: a frame rate cannot be given, because its frames have their own times.")
