"""Write PNG with 16 bits per channel, which Pillow cannot do for color (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from .color_tags import ColorTags
from .png_reader import XMP_KEYWORD, chunk

_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: gray, gray + alpha, RGB, RGBA
_ROWS_PER_STEP = 64


def write_png16(
    file: BinaryIO,
    codes: np.ndarray,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    beside: bytes = b"",
) -> None:
    """Write (H, W, channels) uint16.

    Args:
        file: to write to.
        codes: the pixels; a second or fourth channel is alpha.
        icc: a color profile.
        exif: the bare TIFF structure, without the prefix that it has in a JPEG.
        dpi: pixels per inch (x, y).
        beside: further chunks, as `chunks_beside` returns them.
    """
    height, width, channels = codes.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPE[channels], 0, 0, 0)))
    file.write(beside)
    if icc:
        file.write(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if dpi:
        per_meter = [int(value / 0.0254 + 0.5) for value in dpi]
        file.write(chunk(b"pHYs", struct.pack(">IIB", *per_meter, 1)))
    if exif:
        file.write(chunk(b"eXIf", exif))

    for data in compressed_rows(codes):
        file.write(chunk(b"IDAT", data))
    file.write(chunk(b"IEND", b""))


def compressed_rows(codes: np.ndarray) -> Iterator[bytes]:
    """Filter and compress (H, W, channels) uint8 or uint16; yield the data, some rows at a time."""
    height, width, channels = codes.shape
    compressor = zlib.compressobj(6)
    pixel_bytes = codes.itemsize * channels
    above = np.zeros((1, width * pixel_bytes), dtype=np.uint8)
    for top in range(0, height, _ROWS_PER_STEP):
        rows = np.ascontiguousarray(codes[top : top + _ROWS_PER_STEP], dtype=codes.dtype.newbyteorder(">")).view(
            np.uint8
        )
        rows = rows.reshape(-1, width * pixel_bytes)
        data = compressor.compress(_filter(rows, np.concatenate([above, rows[:-1]]), pixel_bytes))
        above = rows[-1:]
        if data:
            yield data
    yield compressor.flush()


def chunks_beside(color: ColorTags, text: Sequence[tuple[bytes, bytes]], xmp: bytes | None) -> bytes:
    """Return the chunks of a PNG that describe colors, and its text, to stand after its header."""
    chunks = [chunk(kind, content) for kind, content in (*color.chunks, *text)]
    if xmp:
        chunks.append(chunk(b"iTXt", XMP_KEYWORD + bytes(5) + xmp))
    return b"".join(chunks)


def _filter(rows: np.ndarray, above: np.ndarray, pixel_bytes: int) -> bytes:
    """Filter each row with the filter whose sum of absolute differences is smallest, as section 12.7 suggests."""
    left = np.pad(rows[:, :-pixel_bytes], ((0, 0), (pixel_bytes, 0)))
    above_left = np.pad(above[:, :-pixel_bytes], ((0, 0), (pixel_bytes, 0)))
    average = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
    candidates = np.stack([rows, rows - left, rows - above, rows - average, rows - _paeth(left, above, above_left)])
    cost = np.abs(candidates.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)  # (5, rows)
    best = cost.argmin(axis=0).astype(np.uint8)
    filtered = candidates[best, np.arange(len(rows))]
    return np.concatenate([best[:, None], filtered], axis=1).tobytes()


def _paeth(left: np.ndarray, above: np.ndarray, above_left: np.ndarray) -> np.ndarray:
    """Return the neighbor closest to left + above - above_left; left wins ties, then above (section 9.4)."""
    a, b, c = left.astype(np.int16), above.astype(np.int16), above_left.astype(np.int16)
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where(
        (to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, above_left)
    )
