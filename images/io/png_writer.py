"""Write PNG with 16 bits per channel, which Pillow cannot do for color (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: gray, gray + alpha, RGB, RGBA
_ROWS_PER_STEP = 64


def write_png16(
    file: BinaryIO,
    codes: np.ndarray,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> None:
    """Write (H, W, channels) uint16. `exif` is the bare TIFF structure, without the prefix that it has in a JPEG."""
    height, width, channels = codes.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPE[channels], 0, 0, 0))
    if icc:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if dpi:
        per_meter = [int(value / 0.0254 + 0.5) for value in dpi]
        _chunk(file, b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if exif:
        _chunk(file, b"eXIf", exif)

    compressor = zlib.compressobj(6)
    pixel_bytes = 2 * channels
    above = np.zeros((1, width * pixel_bytes), dtype=np.uint8)
    for top in range(0, height, _ROWS_PER_STEP):
        rows = np.ascontiguousarray(codes[top : top + _ROWS_PER_STEP], dtype=">u2").view(np.uint8)
        rows = rows.reshape(-1, width * pixel_bytes)
        data = compressor.compress(_filter(rows, np.concatenate([above, rows[:-1]]), pixel_bytes))
        above = rows[-1:]
        if data:
            _chunk(file, b"IDAT", data)
    _chunk(file, b"IDAT", compressor.flush())
    _chunk(file, b"IEND", b"")


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


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
