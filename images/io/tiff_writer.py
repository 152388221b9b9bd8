"""Write TIFF with 8 or 16 bits per channel (TIFF 6.0; Deflate and predictor as in its technical notes).

Pillow writes 8-bit color only; one writer for both depths keeps the two alike.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .iptc import IPTC_TAG
from .metadata import exif_directories

_UNCOMPRESSED_STRIP_BYTES = 1 << 18
_PREFIX = b"II*\0" if sys.byteorder == "little" else b"MM\0*"
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_STRUCT_CODE = {_SHORT: "H", _LONG: "I", _RATIONAL: "I"}

_BLACK_IS_ZERO, _RGB = 1, 2
_DEFLATE = 8
_HORIZONTAL_DIFFERENCING = 2
_INCH = 2
_STRAIGHT_ALPHA = 2


def write_tiff(
    file: BinaryIO,
    codes: np.ndarray,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
) -> None:
    """Write (H, W, 1 to 4 channels) uint8 or uint16; a second or fourth channel is straight alpha."""
    height, width, channels = codes.shape
    file.write(_PREFIX + bytes(4))  # the directory's offset is written at the end

    offsets, counts = [], []
    rows_per_strip = max(1, _UNCOMPRESSED_STRIP_BYTES // (width * channels * codes.itemsize))
    for top in range(0, height, rows_per_strip):
        strip = codes[top : top + rows_per_strip]
        differences = np.concatenate([strip[:, :1], np.diff(strip, axis=1)], axis=1)  # wraps, as it must
        data = zlib.compress(differences.tobytes(), 6)
        offsets.append(_append(file, data))
        counts.append(len(data))

    tags: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [codes.itemsize * 8] * channels),  # BitsPerSample
        259: (_SHORT, [_DEFLATE]),
        262: (_SHORT, [_BLACK_IS_ZERO if channels < 3 else _RGB]),
        273: (_LONG, offsets),
        277: (_SHORT, [channels]),
        278: (_LONG, [rows_per_strip]),
        279: (_LONG, counts),
        317: (_SHORT, [_HORIZONTAL_DIFFERENCING]),
    }
    if channels in (2, 4):
        tags[338] = _SHORT, [_STRAIGHT_ALPHA]
    if dpi:
        for tag, value in zip((282, 283), dpi, strict=True):
            tags[tag] = _RATIONAL, Fraction(value).limit_denominator(10000).as_integer_ratio()
        tags[296] = _SHORT, [_INCH]
    if icc:
        tags[34675] = _UNDEFINED, icc
    if xmp:
        tags[700] = _BYTE, xmp
    if iptc:
        tags[IPTC_TAG] = _UNDEFINED, iptc
    for tag, entry in (exif_directories(exif) if exif else {}).items():
        if isinstance(entry, dict):
            tags[tag] = _LONG, [_write_subdirectory(file, tag, entry)]
        elif isinstance(entry, str):
            tags[tag] = _ASCII, entry.encode("latin-1", "replace") + b"\0"  # as Pillow decodes it, so that bytes stay
    start = _write_directory(file, tags)
    file.seek(4)
    file.write(struct.pack("=I", start))


def _write_directory(file: BinaryIO, tags: dict[int, tuple[int, Sequence[int] | bytes]]) -> int:
    """Write the values that are longer than four bytes, then the directory; return its offset."""
    entries = []
    for tag, (kind, values) in sorted(tags.items()):
        data = values if isinstance(values, bytes) else struct.pack(f"={len(values)}{_STRUCT_CODE[kind]}", *values)
        count = len(values) // 2 if kind == _RATIONAL else len(values)
        if len(data) > 4:
            data = struct.pack("=I", _append(file, data))
        entries.append(struct.pack("=HHI4s", tag, kind, count, data))
    return _append(file, struct.pack("=H", len(entries)) + b"".join(entries) + bytes(4))


def _write_subdirectory(file: BinaryIO, tag: int, values: dict[int, Any]) -> int:
    """Write the EXIF or GPS directory, whose value types Pillow knows; return its offset."""
    directory: Any = ImageFileDirectory_v2(prefix=_PREFIX[:2], group=tag)
    for key, value in values.items():
        directory[key] = value
    start = _append(file, b"")
    return _append(file, directory.tobytes(start))


def _append(file: BinaryIO, data: bytes) -> int:
    """Write at an even offset, as the specification requires; return the offset."""
    file.write(bytes(file.tell() % 2))
    start = file.tell()
    file.write(data)
    return start
