"""The frames of an animated PNG, composed, with all 16 bits (PNG specification, third edition, section 11.3.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from .errors import ImageFileError
from .files import read_png
from .picture import Picture
from .png_reader import SIGNATURE, chunk, chunks_in

_BACKGROUND, _PREVIOUS = 1, 2  # how a frame is disposed of
_OVER = 1  # how it is blended


@dataclass
class PngFrame:
    """A frame as it lies in the file.

    Attributes:
        box: x, y, width and height in the image.
        seconds: its duration.
        disposal: 0 to keep it, 1 to clear its box, 2 to restore what was there.
        is_blended: True if it is composited, False if it replaces its box.
        data: compressed pixels.
    """

    box: tuple[int, int, int, int]
    seconds: Fraction
    disposal: int
    is_blended: bool
    data: list[bytes] = field(default_factory=list)


@dataclass
class PngAnimation:
    """An animated PNG: `width` and `height` in pixels, the bit depth of its samples, and its frames."""

    path: Path
    width: int
    height: int
    depth: int
    frames: list[PngFrame]
    _header: bytes
    _shared: bytes

    @classmethod
    def parse(cls, data: bytes, path: Path) -> PngAnimation | None:
        """Read the structure of a PNG. Returns None for a single image. Raises ImageFileError for a broken one."""
        header, shared, frames, is_animated = b"", b"", [], False
        try:
            for kind, content, whole, _ in chunks_in(data):
                if kind == b"IHDR":
                    header = bytes(content)
                elif kind in (b"PLTE", b"tRNS"):
                    shared += whole
                elif kind == b"acTL":
                    is_animated = True
                elif kind == b"fcTL":
                    width, height, x, y, above, below, disposal, blending = struct.unpack_from(">IIIIHHBB", content, 4)
                    seconds = Fraction(above, below or 100)
                    frames.append(PngFrame((x, y, width, height), seconds, disposal, blending == _OVER))
                elif kind == b"IDAT" and frames:
                    frames[-1].data.append(bytes(content))
                elif kind == b"fdAT" and frames:
                    frames[-1].data.append(bytes(content[4:]))
            width, height, depth = struct.unpack_from(">IIB", header)
        except struct.error as error:
            raise ImageFileError(f"{path} is damaged or incomplete: {error}.") from error
        if not is_animated or not frames:
            return None
        return cls(path, width, height, depth, frames, header, shared)

    def composed(self) -> Iterator[np.ndarray]:
        """Yield each frame as it is shown, (height, width, 4) uint16 with straight alpha. Raises ImageFileError."""
        canvas = np.zeros((self.height, self.width, 4), np.uint16)
        for number, frame in enumerate(self.frames):
            x, y, width, height = frame.box
            if not (width and height and x + width <= self.width and y + height <= self.height):
                raise ImageFileError(f"{self.path} is damaged: frame {number + 1} lies outside of the image.")
            box = canvas[y : y + height, x : x + width]
            before = box.copy()
            pixels = self._pixels(frame)
            box[...] = _over(pixels, before) if frame.is_blended else pixels
            yield canvas.copy()
            if frame.disposal == _BACKGROUND or (frame.disposal == _PREVIOUS and number == 0):
                box[...] = 0
            elif frame.disposal == _PREVIOUS:
                box[...] = before

    def _pixels(self, frame: PngFrame) -> np.ndarray:
        header = struct.pack(">II", *frame.box[2:]) + self._header[8:]
        data = chunk(b"IHDR", header) + self._shared + chunk(b"IDAT", b"".join(frame.data)) + chunk(b"IEND", b"")
        try:
            return _rgba(read_png(SIGNATURE + data, self.path))
        except ImageFileError:
            raise
        except Exception as error:  # whatever Pillow raises
            raise ImageFileError(f"{self.path} is damaged or incomplete: {error}.") from error


def _rgba(picture: Picture) -> np.ndarray:
    codes = picture.codes(16)
    color = codes[..., [0, 0, 0]] if picture.is_gray else codes[..., :3]
    alpha = np.full_like(codes[..., :1], 65535) if picture.alpha is None else codes[..., -1:]
    return np.concatenate([color, alpha], axis=2)


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Composite straight RGBA of 16 bits, rounded to nearest."""
    front, back = top / 65535.0, bottom / 65535.0
    behind = back[..., 3:] * (1 - front[..., 3:])
    alpha = front[..., 3:] + behind
    color = (front[..., :3] * front[..., 3:] + back[..., :3] * behind) / np.maximum(alpha, 1e-9)
    return (np.concatenate([color, alpha], axis=2) * 65535 + 0.5).astype(np.uint16)
