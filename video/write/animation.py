"""Write frames as an animation: animated PNG with 8 or 16 bits, WebP, or GIF."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ...images.io.atomic import atomic_file, check_target
from ...images.io.errors import ImageFileError
from ...images.io.formats import ImageFormat
from ...images.io.png_reader import SIGNATURE, chunk
from ...images.io.png_writer import compressed_rows
from ..errors import VideoError, reason
from ..frames import Frame, FrameFormat, Layout, VideoInfo

_log = logging.getLogger(__name__)

ANIMATION_CODECS = ("gif", "apng", "webp")  # of sources that have nothing but frames, and may become animations
_MAX_DELAY_TERM = 65535
_LONGEST_DELAY = {"gif": 65535, "webp": 2**24 - 1}  # in 1/100 s and in milliseconds
_MAX_PLAYS = 65535  # in GIF and WebP
_GIF_COLORS = 255  # and one that is transparent


class AnimationWriter:
    """A FrameSink that writes an animation. A GIF has 256 colors a frame, dithered, and times in 1/100 s.

    Args:
        target: ends in .png, .apng, .webp or .gif.
        info: of the source, whose number of repetitions is kept.
        frames: the frames of the job. `format` is RGB, with 16 bits for PNG if the source has more than 8.
        quality: 1 to 100, for WebP; 100 is lossless.
        overwrite: replace the target.
        warn: called with one sentence for each property that cannot be kept.

    Raises:
        VideoError: the target exists and `overwrite` is False, is too large for its format, or cannot be written.
    """

    holds_captions = False

    def __init__(
        self,
        target: Path,
        info: VideoInfo,
        frames: FrameFormat,
        *,
        quality: int,
        overwrite: bool = False,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self._kind = {".apng": "png"}.get(target.suffix.lower(), target.suffix.lower().lstrip("."))
        check_target(target, overwrite=overwrite, sources=[Path(info.name)], error=VideoError)
        limit = {"webp": 16383, "gif": 65535}.get(self._kind, ImageFormat.PNG.max_side)
        if max(frames.width, frames.height) > limit:
            raise VideoError(
                f"{target} cannot be written: {self._kind.upper()} holds at most {limit} pixels a side, and the frames "
                f"have {frames.width}x{frames.height}."
            )
        depth = 16 if frames.layout.depth > 8 and self._kind == "png" else 8
        if frames.layout.depth > depth:
            warn(f"{target}: {self._kind.upper()} holds 8 bits per channel; the source has {frames.layout.depth}.")
        layout = Layout("rgb", depth, alpha=frames.layout.alpha)
        self.format = replace(frames, layout=layout, color=replace(frames.color, matrix=0, full_range=True))
        self.encoder = {"png": "apng"}.get(self._kind, self._kind)
        self.pixel_format = (
            ("rgba" if layout.alpha else "rgb24") if depth == 8 else "rgba64be" if layout.alpha else "rgb48be"
        )
        if self._kind == "gif":
            self.pixel_format = "pal8"
        self.target, self.frames, self._warn = target, 0, warn
        self._quality, self._time_base = quality, Fraction(info.time_base)
        self._plays = _plays_of(Path(info.name))
        self._times: list[tuple[int, int]] = []  # pts and duration
        self._spool: list[bytes] = []
        self._sequence = 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._context = atomic_file(target, overwrite=overwrite)
            self._file = self._context.__enter__()
        except OSError as error:
            raise VideoError(f"{target} cannot be written: {reason(error)}.") from error
        self._is_open = True

    @property
    def bytes_written(self) -> int:
        """So far; WebP and GIF are encoded at the end, and until then these are the bytes of their frames."""
        return self._file.tell() if self._is_open and self._kind == "png" else sum(map(len, self._spool))

    def write(self, frame: Frame) -> None:
        """Write a frame in `format`. Raises VideoError."""
        codes = np.stack([plane.cpu().numpy() for plane in frame.planes], axis=-1)
        self._times.append((frame.pts, frame.duration))
        self.frames += 1
        if self._kind != "png":
            self._spool.append(zlib.compress(codes.tobytes(), 1))
            return
        try:
            self._write_png_frame(codes, frame.duration * self._time_base)
        except OSError as error:
            raise VideoError(f"{self.target} cannot be written: {reason(error)}.") from error

    def finish(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Complete the file and move it to its name. Raises VideoError."""
        if not self._is_open:
            return
        try:
            if not self.frames:
                raise VideoError(f"{self.target} was not written, because the source had no frames.")
            if self._kind == "png":
                self._file.write(chunk(b"IEND", b""))
                self._file.seek(len(SIGNATURE) + 25)
                self._file.write(chunk(b"acTL", struct.pack(">II", self.frames, self._plays)))
                self._file.seek(0, io.SEEK_END)
            else:
                self._file.write(self._encoded())
            if cancelled():
                self.discard()
                return
            self._is_open = False
            self._context.__exit__(None, None, None)
        except (OSError, ImageFileError, OverflowError, ValueError, struct.error, RuntimeError) as error:  # Pillow's
            self.discard()
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise VideoError(f"{self.target} cannot be written: {why}.") from error
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Delete what was written. After `finish` the file stays. Never raises."""
        if self._is_open:
            self._is_open = False
            error = VideoError("discarded")
            with suppress(Exception):
                self._context.__exit__(VideoError, error, None)

    def _write_png_frame(self, codes: np.ndarray, seconds: Fraction) -> None:
        height, width, channels = codes.shape
        if self.frames == 1:
            header = struct.pack(
                ">IIBBBBB", width, height, self.format.layout.depth, 2 if channels == 3 else 6, 0, 0, 0
            )
            self._file.write(SIGNATURE + chunk(b"IHDR", header) + chunk(b"acTL", bytes(8)))
        numerator, denominator = _delay(seconds)
        control = struct.pack(">IIIIIHHBB", self._next(), width, height, 0, 0, numerator, denominator, 0, 0)
        self._file.write(chunk(b"fcTL", control))
        for data in compressed_rows(codes):
            if self.frames == 1:
                self._file.write(chunk(b"IDAT", data))
            else:
                self._file.write(chunk(b"fdAT", struct.pack(">I", self._next()) + data))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _encoded(self) -> bytes:
        images = self._images()
        options: dict[str, object] = {"save_all": True, "append_images": images}
        if self._kind == "webp":
            options |= {"duration": self._delays(1000), "loop": min(self._plays, _MAX_PLAYS), "quality": self._quality}
            options |= {"lossless": self._quality == 100, "exact": self._quality == 100, "alpha_quality": 100}
        else:
            options |= {"duration": [10 * delay for delay in self._delays(100)], "disposal": 2, "optimize": False}
            if self._plays != 1:
                options["loop"] = min(max(0, self._plays - 1), _MAX_PLAYS)
        encoded = io.BytesIO()
        next(images).save(encoded, self._kind.upper(), **options)
        return encoded.getvalue()

    def _images(self) -> Iterator[Image.Image]:
        layout = self.format.layout
        shape = (self.format.height, self.format.width, layout.planes)
        for data in self._spool:
            codes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)
            yield _with_palette(codes) if self._kind == "gif" else Image.fromarray(codes)

    def _delays(self, per_second: int) -> list[int]:
        """Return the duration of each frame, rounded so that errors do not add up."""
        total, delays = Fraction(0), []
        for _, duration in self._times:
            before = round(total * per_second)
            total += duration * self._time_base
            delays.append(round(total * per_second) - before)
        longest = _LONGEST_DELAY[self._kind]
        if max(delays) > longest:
            self._warn(f"{self.target}: {self._kind.upper()} shows a frame for at most {longest / per_second:g} s.")
        return [min(max(delay, 0), longest) for delay in delays]


def _with_palette(codes: np.ndarray) -> Image.Image:
    """Return an image of up to 255 colors and one that is transparent, for an alpha below a half."""
    image = Image.fromarray(np.ascontiguousarray(codes[..., :3])).quantize(_GIF_COLORS)
    if codes.shape[2] == 4:  # in every frame, or Pillow fills what a frame leaves with an opaque color
        indices = np.where(codes[..., 3] < 128, np.uint8(_GIF_COLORS), np.asarray(image))
        palette = (image.getpalette() or [])[: 3 * _GIF_COLORS]
        image = Image.fromarray(indices)
        image.putpalette(palette + [0] * (768 - len(palette)))
        image.info["transparency"] = _GIF_COLORS
    return image


def _delay(seconds: Fraction) -> tuple[int, int]:
    """Return a duration as two numbers of 16 bits."""
    for limit in (_MAX_DELAY_TERM, 1000, 100, 1):
        delay = seconds.limit_denominator(limit)
        if delay.numerator <= _MAX_DELAY_TERM:
            return delay.numerator, delay.denominator
    return _MAX_DELAY_TERM, 1


def _plays_of(path: Path) -> int:
    """Return how often an animation plays; 0 for endlessly."""
    try:
        with Image.open(path) as image:
            loop = image.info.get("loop")
            if image.format == "GIF":
                return 1 if loop is None else loop + 1 if loop else 0
            return int(loop or 0)
    except Exception:  # a source that Pillow does not open repeats
        return 0
