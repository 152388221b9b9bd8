"""Read HEIC with pillow-heif, where it is installed, at its full depth, which Pillow's images cannot hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .color_tags import ColorTags

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_UNKNOWN_CODE = 2  # of ITU-T H.273


@dataclass(frozen=True)
class HeicImage:
    """The main image of a file, upright.

    Attributes:
        codes: (H, W, channels) uint8, or uint16 that uses all 16 bits; alpha last, straight.
        icc: a color profile.
        exif: EXIF as the file has it; its orientation is already applied.
        xmp: an XMP packet.
        color_tags: code points for colors.
        others: images of the file that are not read.
        has_gain_map: True if a second image turns the main one into HDR.
    """

    codes: np.ndarray
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    color_tags: ColorTags
    others: int
    has_gain_map: bool


def is_heic(head: bytes) -> bool:
    """Return True for the beginning of a HEIC file, but not of an AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS and b"avif" not in head[12:64]


def read_heic(file: BinaryIO) -> HeicImage | None:
    """Read a file. Returns None where pillow-heif is not installed. Raises whatever pillow-heif does."""
    try:
        import pillow_heif
    except ImportError:
        return None
    container: Any = pillow_heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    info = container.info
    codes = np.asarray(container)
    if codes.ndim == 2:
        codes = codes[..., None]
    name, _, depth = container.mode.partition(";")
    top = 2 ** int(depth or 8) - 1
    if name.endswith("a"):  # premultiplied
        color, alpha = codes[..., :-1].astype(np.float64), codes[..., -1:]
        straight = np.minimum(color * (top / np.maximum(alpha, 1)) + 0.5, top)
        codes = np.concatenate([straight.astype(codes.dtype), alpha], axis=2)
    if depth and top != 65535:
        codes = ((codes.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
    nclx = info.get("nclx_profile") or {}
    primaries = int(nclx.get("color_primaries", _UNKNOWN_CODE))
    transfer = int(nclx.get("transfer_characteristics", _UNKNOWN_CODE))
    has_tags = _UNKNOWN_CODE not in (primaries, transfer) and not info.get("icc_profile")
    return HeicImage(
        codes,
        info.get("icc_profile") or None,
        info.get("exif") or None,
        info.get("xmp") or None,
        ColorTags.from_cicp(primaries, transfer) if has_tags else ColorTags(),
        len(container) - 1,
        any("hdrgainmap" in name for name in info.get("aux", {})),
    )
