"""Unpack the runs of a TGA, which Pillow refuses to follow from one row into the next (Truevision TGA 2.0, page 24)."""

from __future__ import annotations

import struct

_HEADER_BYTES = 18
_RUN_LENGTH_CODED = 8  # added to the image type


def without_runs(data: bytes) -> bytes | None:
    """Return a TGA as one without run-length coding; None if it has none, or if pixels are missing."""
    if len(data) < _HEADER_BYTES:
        return None
    id_length, has_palette, kind, _, colors, color_bits, _, _, width, height, depth = struct.unpack_from(
        "<BBBHHBHHHHB", data
    )
    if not kind & _RUN_LENGTH_CODED:
        return None
    position = start = _HEADER_BYTES + id_length + (colors * -(-color_bits // 8) if has_palette else 0)
    pixel = -(-depth // 8)
    needed = width * height * pixel
    pixels = bytearray()
    while len(pixels) < needed and position < len(data):
        count = (data[position] & 127) + 1
        is_run = data[position] > 127
        end = position + 1 + (pixel if is_run else pixel * count)
        pixels += data[position + 1 : end] * (count if is_run else 1)
        position = end
    if len(pixels) < needed:
        return None
    return data[:2] + bytes([kind - _RUN_LENGTH_CODED]) + data[3:start] + bytes(pixels[:needed])
