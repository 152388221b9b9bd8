"""Which kind of source a thing is: a video file, numbered images, an animation, images in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import VideoError
from ..frames import FrameSource
from ..kinds import is_pattern
from .arrays import ArrayReader
from .file import VideoReader, say_as_warning
from .images import AnimatedWebpReader, ImageSequenceReader, webp_delays


def open_source(
    source: str | Path | BinaryIO | Iterable[Any],
    *,
    frame_rate: Fraction | float | str | None = None,
    start: Fraction | float | None = None,
    end: Fraction | float | None = None,
    deinterlace: str = "auto",
    stream: int | None = None,
    warn: Callable[[str], None] = say_as_warning,
) -> FrameSource:
    """Open anything frames come from; the caller closes it.

    source: a video or animation file (GIF, APNG and animated WebP too), a pattern of numbered images
    ("frames/%06d.png"), a list of image files, a seekable binary file object, or an iterable of RGB frames, as
    `ArrayReader` takes them.
    frame_rate: needed for images and frames, which have no times of their own; not allowed for a file that has.
    start, end: seconds from the first frame, half open. deinterlace, stream: of video files; see `VideoReader`.

    Raises VideoError for what cannot be read and for arguments that do not fit the source.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if is_pattern(path):
            return ImageSequenceReader(path, _needed(frame_rate, path), start=start, end=end, warn=warn)
        _refuse(frame_rate, path)
        if path.is_file() and _is_animated_webp(path):
            return AnimatedWebpReader(path, start=start, end=end)
        return VideoReader(path, start=start, end=end, deinterlace=deinterlace, stream=stream, warn=warn)
    if hasattr(source, "read"):
        _refuse(frame_rate, source)
        return VideoReader(
            cast(BinaryIO, source), start=start, end=end, deinterlace=deinterlace, stream=stream, warn=warn
        )
    if isinstance(source, (list, tuple)) and source and all(isinstance(each, (str, os.PathLike)) for each in source):
        return ImageSequenceReader(source, _needed(frame_rate, "a list"), start=start, end=end, warn=warn)
    if not isinstance(source, Iterable):
        raise TypeError(f"a video source must be a path, a file object or an iterable, not {type(source).__name__}.")
    return ArrayReader(source, _needed(frame_rate, "frames in memory"), start=start, end=end)


def _is_animated_webp(path: Path) -> bool:
    try:
        return len(webp_delays(path)) > 0
    except OSError:
        return False  # VideoReader says why


def _needed(frame_rate: Fraction | float | str | None, what: object) -> Fraction | float | str:
    if frame_rate is None:
        raise VideoError(f"{what}: a frame rate must be given (--frame-rate), because images have none of their own.")
    return frame_rate


def _refuse(frame_rate: Fraction | float | str | None, what: object) -> None:
    if frame_rate is not None:
        raise VideoError(f"{what}: a frame rate cannot be given, because the times of its frames are its own.")
