"""Read frames from animated PNG that FFmpeg does not blend: those with other than 8 bits per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import torch

from ...images.io.animation import is_animated
from ...images.io.errors import ImageFileError
from ...images.io.png_animation import PngAnimation
from ..container import check_dimensions
from ..errors import VideoError
from ..frames import Color, Frame, Layout, Span, VideoInfo
from .images import ImageSource

_DEPTH_OFFSET = 24  # of the bit depth in a PNG
_MAX_TICKS_PER_SECOND = 1_000_000
_DELAY_OF_ZERO = Fraction(1, 10)


def is_deep_png_animation(path: Path) -> bool:
    """Return True for an animated PNG with other than 8 bits per sample."""
    if not is_animated(path):
        return False
    with open(path, "rb") as file:
        head = file.read(_DEPTH_OFFSET + 1)
    return head[:4] == b"\x89PNG" and head[_DEPTH_OFFSET] != 8


class AnimatedPngReader(ImageSource):
    """The composed frames of an animated PNG: RGB with alpha, 8 or 16 bits.

    A delay of 0 becomes 0.1 s and is counted in `repaired_pts`, as for animated WebP.

    Args:
        path: the file.
        span: seconds; frames with start <= time < end are returned.

    Raises:
        VideoError: the file cannot be read, or has no frame in the span.
    """

    def __init__(self, path: Path, *, span: Span = Span()) -> None:
        super().__init__()
        span.validate()
        try:
            animation = PngAnimation.parse(path.read_bytes(), path)
        except (OSError, ImageFileError) as error:
            raise VideoError(str(error)) from error
        if animation is None:
            raise VideoError(f"{path} has no frames of an animation.")
        check_dimensions(animation.width, animation.height, str(path))
        delays = [frame.seconds or _DELAY_OF_ZERO for frame in animation.frames]
        self.report.repaired_pts = sum(frame.seconds == 0 for frame in animation.frames)
        ticks = min(math.lcm(*(delay.denominator for delay in delays)), _MAX_TICKS_PER_SECOND)
        times, total = [0], Fraction(0)
        for delay in delays:
            total += delay
            times.append(round(total * ticks))
        start = (span.start or 0) * ticks
        last = times[-1] if span.end is None else min(times[-1], math.ceil(span.end * ticks))
        chosen = [i for i, time in enumerate(times[:-1]) if start <= time < last]
        if not chosen:
            raise VideoError(f"{path} has no frame in the given time span.")
        self._depth = 16 if animation.depth == 16 else 8
        self.info = VideoInfo(
            name=str(path),
            width=animation.width,
            height=animation.height,
            layout=Layout("rgb", self._depth, alpha=True),
            color=Color(0, True),
            time_base=Fraction(1, ticks),
            frame_rate=(len(delays) / total).limit_denominator(1001),
            codec="apng",
            start_pts=times[chosen[0]],
            duration=last - times[chosen[0]],
            frames=len(chosen),
        )
        self._frames = self._read(animation, {i: (times[i], min(times[i + 1], last) - times[i]) for i in chosen})

    def _read(self, animation: PngAnimation, chosen: dict[int, tuple[int, int]]) -> Iterator[Frame]:
        try:
            for index, composed in enumerate(animation.composed()):
                if index not in chosen:
                    continue
                codes = torch.from_numpy(composed if self._depth == 16 else (composed // 257).astype("uint8"))
                yield Frame(tuple(codes[..., channel].contiguous() for channel in range(4)), *chosen[index])
        except ImageFileError as error:
            raise VideoError(str(error)) from error
