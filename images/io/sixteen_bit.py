"""Read 16 bits per channel through Pillow, which has no such mode for color and keeps the high bytes only.

Pillow's unpackers "RGB;16B" and "RGB;16L" pick the first or the second byte of every sample. Decoding the file twice,
once with each, gives the high and the low bytes, and so the exact 16-bit values, with Pillow's own decompression,
filters and interlacing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def raw_mode(image: Image.Image) -> str:
    """Return Pillow's name for the layout of samples in the file, such as "RGB;16B" or "L;4"; "" if it has none."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return mode if isinstance(mode, str) else ""


def is_sixteen_bit_color(image: Image.Image) -> bool:
    """Return True if an opened, not yet loaded file holds several 16-bit channels, which Pillow would cut to 8 bits."""
    name, _, depth = raw_mode(image).partition(";")
    return name in ("RGB", "RGBA", "RGBa", "RGBX", "LA") and depth in ("16B", "16L", "16N")


def read_sixteen_bit(image: Image.Image, reopen: Callable[[], Image.Image]) -> np.ndarray:
    """Read a file with `is_sixteen_bit_color` as (H, W, channels) uint16, alpha last and straight.

    Args:
        image: the file, opened and not yet loaded. This loads it.
        reopen: opens the file a second time.
    """
    layout, _, depth = raw_mode(image).partition(";")
    if layout == "LA":  # four bytes a pixel: one decode as RGBA gives both bytes of both channels
        _set_raw_mode(image, "RGBA")
        data = np.asarray(image)
        return np.stack([_join(data[..., 0], data[..., 1]), _join(data[..., 2], data[..., 3])], axis=-1)

    unpacker = "RGBA" if layout == "RGBa" else layout  # the 8-bit unpremultiplication would not be exact
    with reopen() as second:
        _set_raw_mode(image, f"{unpacker};{depth}")
        _set_raw_mode(second, f"{unpacker};16{_OTHER_BYTE[depth[-1]]}")
        codes = _join(np.asarray(image), np.asarray(second))
    if layout == "RGBX":
        return codes[..., :3]
    if layout == "RGBa":
        alpha = codes[..., 3:].astype(np.float64)
        straight = codes[..., :3] * (65535 / np.maximum(alpha, 1))
        codes[..., :3] = np.minimum(straight + 0.5, 65535)
    return codes


def _set_raw_mode(image: Image.Image, mode: str) -> None:
    tiles = []
    for codec, extents, offset, arguments in image.tile:  # type: ignore[attr-defined]
        changed = (mode, *arguments[1:]) if isinstance(arguments, tuple) else mode
        tiles.append((codec, extents, offset, changed))
    # Pillow 11.1 and later read tiles by attribute, older versions by position: its own class serves both.
    kind = type(image.tile[0])  # type: ignore[attr-defined]
    image.tile = [kind(*tile) if hasattr(kind, "_fields") else tile for tile in tiles]  # type: ignore[attr-defined]


def _join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return (high.astype(np.uint16) << 8) | low
