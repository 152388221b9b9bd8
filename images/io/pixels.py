"""Bring the pixels of an opened image to integers (H, W, channels): uint8 or uint16, alpha last and straight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from .errors import ImageFileError
from .metadata import to_srgb
from .planar_tiff import can_read, read_planes
from .sixteen_bit import is_sixteen_bit_color, raw_mode, read_sixteen_bit

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLES_PER_PIXEL, _PLANAR = 258, 262, 277, 284
_WHITE_IS_ZERO = 0
_SEPARATE_PLANES = 2


def read_codes(image: Image.Image, path: Path, reopen: Callable[[], Image.Image]) -> np.ndarray:
    """Load an opened image.

    Args:
        image: the file, opened and not yet loaded.
        path: named in errors.
        reopen: opens the same file again.

    Raises:
        ImageFileError: the pixels are no integers of up to 16 bits, or in a layout that cannot be read exactly.
    """
    if isinstance(image, TiffImageFile) and _tag(image, _PLANAR, 1) == _SEPARATE_PLANES and can_read(image):
        return read_planes(image)
    if image.format == "TIFF" and image.mode not in ("F", "I"):
        _refuse_inexact_tiff(image, path)
    if is_sixteen_bit_color(image):
        return _with_color_key(read_sixteen_bit(image, reopen), image, 1)
    return _read_codes(image, path)


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """Return a number of a TIFF's directory; of several the largest."""
    value = image.tag_v2.get(tag, default)  # type: ignore[attr-defined]
    return max(value) if isinstance(value, tuple) and value else value if isinstance(value, int) else default


def _refuse_inexact_tiff(image: Image.Image, path: Path) -> None:
    """Refuse a color TIFF of more than 8 bits in a layout that Pillow opens wrongly."""
    bits, samples = _tag(image, _BITS_PER_SAMPLE, 1), _tag(image, _SAMPLES_PER_PIXEL, 1)
    is_split = _tag(image, _PLANAR, 1) == _SEPARATE_PLANES
    if bits > 8 and samples > 1 and image.mode != "CMYK" and (is_split or not is_sixteen_bit_color(image)):
        layout = "separate planes" if is_split else "a layout"
        raise ImageFileError(f"{path} stores {bits}-bit channels in {layout} that cannot be read.")


def _stretched_tiff(image: Image.Image, codes: np.ndarray) -> np.ndarray:
    """Scale gray values of 9 to 15 bits to 16, and invert those for which 0 is white."""
    bits = _tag(image, _BITS_PER_SAMPLE, 16)
    if 8 < bits < 16:
        top = 2**bits - 1
        codes = ((np.minimum(codes, top).astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
    return 65535 - codes if _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO else codes


def _read_codes(image: Image.Image, path: Path) -> np.ndarray:
    """Read any other layout as (H, W, channels) uint8, or uint16 for 16-bit gray; alpha last."""
    layout = raw_mode(image)
    if image.mode in ("CMYK", "LAB"):
        image = to_srgb(image)
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "RGBa":
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("1", "L"):
        # The color key of a PNG with 1, 2 or 4 bits is in the file's own steps; its pixels are scaled to 0..255.
        steps = {"1": 1, "L;2": 3, "L;4": 15}.get(layout, 255)
        codes = np.asarray(image.convert("L") if image.mode == "1" else image)
        return _with_color_key(codes[..., None], image, 255 // steps)
    if image.mode in ("LA", "RGBA"):
        return np.asarray(image)
    if image.mode == "RGB":
        return _with_color_key(np.asarray(image), image, 1)
    if image.mode.startswith("I;16"):
        codes = np.asarray(image).astype(np.uint16)[..., None]
        return _stretched_tiff(image, codes) if image.format == "TIFF" else _with_color_key(codes, image, 1)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits, in Pillow's 32-bit mode
        return np.asarray(image).astype(np.uint16)[..., None]
    kind = {"F": "floating-point pixels", "I": "32-bit integer pixels"}.get(image.mode, f"pixels of kind {image.mode}")
    raise ImageFileError(f"{path} holds {kind}; only 8 and 16 bits per channel can be read.")


def _with_color_key(codes: np.ndarray, image: Image.Image, step: int) -> np.ndarray:
    """Append the alpha of PNG's tRNS chunk: one color is fully transparent, all others are opaque."""
    key = image.info.get("transparency")
    channels = codes.shape[2]
    if image.format != "PNG" or key is None or channels not in (1, 3) or isinstance(key, bytes):
        return codes
    opaque = (codes != np.asarray(key) * step).any(axis=2, keepdims=True)
    return np.concatenate([codes, opaque * codes.dtype.type(np.iinfo(codes.dtype).max)], axis=2)
