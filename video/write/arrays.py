"""`ArrayWriter`: write images in memory to a video file, one after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from torch import Tensor

from ...images.arrays import check_tensor, picture_of
from ...images.io.picture import Picture
from ..color.yuv import from_rgb
from ..container import check_dimensions
from ..errors import VideoError
from ..frames import Color, Frame, FrameFormat, FrameSink, Layout, VideoInfo
from ..read.images import exact_rate
from .encoder_options import EncoderOptions
from .open import open_target

_log = logging.getLogger(__name__)
_MIN_TICKS = 10_000  # per second


class ArrayWriter:
    """Encodes images into a video file, which appears when the `with` block ends without an error.

        with ArrayWriter("film.mp4", frame_rate=24) as writer:
            for image in images:
                writer.write(image)

    Args:
        target: path of an .mp4, .mkv, .mov or .webm file, or of numbered images (`frames/%06d.png`).
        frame_rate: frames per second, a number or text such as "24000/1001". Frames without times follow one another
            at this rate.
        encoder: codec, quality, preset, pixel format and bit depth.
        streams_from: file whose audio, subtitles and other streams are added.
        metadata: further tags for the file.
        overwrite: replace `target` if it exists.
        warn: called with one sentence for each property that cannot be kept. Default: the log.

    Raises:
        ValueError: the frame rate is not a number above 0 and up to 100,000.
    """

    def __init__(
        self,
        target: str | Path,
        frame_rate: Fraction | float | str,
        *,
        encoder: EncoderOptions = EncoderOptions(),
        streams_from: str | Path | BinaryIO | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._target, self._rate, self._encoder = target, exact_rate(frame_rate), encoder
        self._streams_from, self._metadata, self._overwrite = streams_from, metadata, overwrite
        self._warn = warn or _log.warning
        # A whole number of ticks for each frame, and fine enough for frames with other times.
        numerator = self._rate.numerator
        self._time_base = Fraction(1, numerator * math.ceil(_MIN_TICKS / numerator))
        self._sink: FrameSink | None = None  # opened with the first frame, whose size it takes
        self._end = Fraction(0)

    def write(self, image: Any, *, pts: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Encode an image.

        Args:
            image: a PIL image, an array (H, W) or (H, W, 1, 3 or 4) of uint8, uint16 or floats in [0, 1], or a tensor
                (3, H, W) of floats in [0, 1]. All of one size; gray, color, alpha and depth are those of the first.
                H.264 and HEVC keep odd sides only in 4:4:4, which fewer players show.
            pts: seconds, above those of the previous image; None: where that ended. Rounded to 0.1 ms or less.
            duration: seconds; None: one over the frame rate.

        Raises:
            UpscaleError: the image is none; the sentence says what to do.
            VideoError: the target cannot be written with these options, or the size differs from the first image's.
        """
        picture = _picture(image)
        sink = self._sink if self._sink is not None else self._open(picture)
        size = (sink.format.width, sink.format.height)
        if (picture.width, picture.height) != size:
            raise VideoError(
                f"{self._target}: an image has {picture.width}x{picture.height} pixels, the first one "
                f"{size[0]}x{size[1]}; all must have one size."
            )
        pts = self._end if pts is None else Fraction(pts)
        self._end = pts + (1 / self._rate if duration is None else Fraction(duration))
        planes = from_rgb(picture.color, picture.alpha, sink.format.layout, sink.format.color)
        ticks = round(pts / self._time_base)
        sink.write(Frame(planes, ticks, max(1, round(self._end / self._time_base) - ticks)))

    def finish(self) -> None:
        """Complete the file and move it to its name. Raises VideoError if there was no image."""
        if self._sink is None:
            raise VideoError(f"{self._target} was not written, because there were no images.")
        self._sink.finish()

    def discard(self) -> None:
        """Delete what was written. Never raises."""
        if self._sink is not None:
            self._sink.discard()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()

    def _open(self, picture: Picture) -> FrameSink:
        check_dimensions(picture.width, picture.height, str(self._target))
        layout = Layout("gray" if picture.is_gray else "rgb", picture.bit_depth, alpha=picture.alpha is not None)
        frames = FrameFormat(picture.width, picture.height, layout, Color(0, True))
        info = VideoInfo(
            name="the given images", width=picture.width, height=picture.height, layout=layout, color=frames.color,
            time_base=self._time_base, frame_rate=self._rate,
        )  # fmt: skip
        self._sink = open_target(
            self._target,
            info,
            frames,
            self._encoder,
            copy_from=self._streams_from,
            metadata=self._metadata,
            overwrite=self._overwrite,
            warn=self._warn,
        )
        return self._sink


def _picture(image: Any) -> Picture:
    if isinstance(image, Tensor):
        check_tensor(image, 3)
        if image.dim() == 4:
            raise VideoError(f"a tensor has the shape (3, H, W), not {tuple(image.shape)}; write its images one by one")
        return Picture(image.detach().cpu().float().clamp(0, 1))
    return picture_of(image)[0]
