"""Read JPEG files that are cut, or whose segments beside the picture are broken."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from .errors import ImageFileError
from .opening import open_image

SIGNATURE = b"\xff\xd8\xff"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"

_END = b"\xff\xd9"
_APP0, _APP14, _APP15, _COMMENT, _START_OF_SCAN = 0xE0, 0xEE, 0xEF, 0xFE, 0xDA
_MAX_MISSING = 0.1  # of the rows
_MARKERS_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_ARITHMETIC = (b"\xff\xc9", b"\xff\xca")  # starts of frames without Huffman's codes
_MAX_PIXELS_PER_BYTE = 512  # one bit for each 8x8 block


def open_jpeg(file: BinaryIO, path: Path) -> Image.Image:
    """Open a JPEG without loading its pixels. `path` is named in errors.

    Raises:
        ImageFileError: as `open_image`; or most of the pixels are missing, for which a decoder would take memory, and
            gray.
    """
    image = open_image(file, path)
    position, length = file.tell(), file.seek(0, io.SEEK_END)
    file.seek(position)
    if image.width * image.height * (1 - _MAX_MISSING) > length * _MAX_PIXELS_PER_BYTE:
        file.seek(0)
        content = file.read()
        if not any(marker in content for marker in _ARITHMETIC):
            raise ImageFileError(f"{path} is damaged or incomplete: it is far too short for the size that it declares.")
        file.seek(position)
    return image


def open_cut_jpeg(data: bytes, path: Path) -> tuple[Image.Image, int]:
    """Open a JPEG that ends too early, and count the rows that its data do not reach.

    A decoder fills in what is missing. It is decoded twice, with different data after the end: rows that differ, and
    those below, are missing.

    Raises:
        ImageFileError: more than a tenth of the rows is missing.
    """
    data = data.rstrip(b"\xff")
    noise = np.random.default_rng(0).integers(0, 255, 4096, dtype=np.uint8).tobytes()
    rows = []
    for tail in (b"", noise):
        with open_image(io.BytesIO(data + tail + _END), path) as image:
            rows.append(np.asarray(image))
    differ = (rows[0] != rows[1]).reshape(len(rows[0]), -1).any(axis=1)
    height = len(differ)
    missing = height - int(differ.argmax()) if differ.any() else 0
    if missing > height * _MAX_MISSING:
        raise ImageFileError(f"{path} is damaged or incomplete: {missing} of {height} rows are missing.")
    return open_image(io.BytesIO(data + _END), path), missing


def without_metadata(data: bytes) -> bytes:
    """Return a JPEG without its comments and application segments, except those that tell how it is encoded."""
    kept = [data[:2]]
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == _START_OF_SCAN:
            break
        if marker in _MARKERS_WITHOUT_LENGTH:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        is_metadata = marker == _COMMENT or (_APP0 <= marker <= _APP15 and marker not in (_APP0, _APP14))
        if not is_metadata:
            kept.append(data[position : position + 2 + length])
        position += 2 + length
    kept.append(data[position:])
    return b"".join(kept)
