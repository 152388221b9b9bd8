"""IPTC captions and keywords (IIM), which JPEG keeps among Photoshop's image resources and TIFF in a tag."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

IPTC_TAG = 33723

_PHOTOSHOP_TAG = 34377
_RESOURCE_ID = 0x0404
_SIGNATURE = b"8BIM"
_SEGMENT_NAME = b"Photoshop 3.0\0"
_APP13 = b"\xff\xed"
_MAX_SEGMENT_BYTES = 65533
_MAX_TIFF_BYTES = 1 << 26
_TYPE_BYTES = {1: 1, 2: 1, 4: 4, 7: 1}


def iptc_of_jpeg(image: Image.Image) -> bytes | None:
    """Return the IPTC data of an opened JPEG; None if it has none."""
    resources = image.info.get("photoshop")
    data = resources.get(_RESOURCE_ID) if isinstance(resources, dict) else None
    return data if isinstance(data, bytes) and data else None


def iptc_of_tiff(file: BinaryIO) -> bytes | None:
    """Return the IPTC data of the first page of a TIFF; None if it has none.

    Read here, as Pillow takes only the first of the numbers that Photoshop stores the bytes as. BigTIFF is passed over.
    """
    file.seek(0)
    prefix = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(prefix[:4])
    if order is None or len(prefix) < 8:
        return None
    (start,) = struct.unpack(order + "I", prefix[4:])
    file.seek(start)
    count = int.from_bytes(file.read(2), "little" if order == "<" else "big")
    entries = file.read(12 * count)
    found = {}
    for tag, kind, number, offset in struct.iter_unpack(order + "HHII", entries[: len(entries) // 12 * 12]):
        length = number * _TYPE_BYTES.get(kind, 0)
        if tag in (IPTC_TAG, _PHOTOSHOP_TAG) and 4 < length <= _MAX_TIFF_BYTES:
            file.seek(offset)
            found[tag] = file.read(length)
    resource = dict(_resources(found.get(_PHOTOSHOP_TAG, b""))).get(_RESOURCE_ID)
    return found.get(IPTC_TAG) or resource or None


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield id and content of Photoshop's image resources."""
    position = 0
    while data[position : position + 4] == _SIGNATURE and position + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, position + 4)
        name_bytes = 1 + data[position + 6]
        position += 6 + name_bytes + name_bytes % 2
        if position + 4 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, position)
        yield number, data[position + 4 : position + 4 + length]
        position += 4 + length + length % 2


def jpeg_segment(iptc: bytes) -> bytes | None:
    """Return IPTC data as a segment of a JPEG; None if they are too large for one."""
    resource = _SIGNATURE + struct.pack(">HHI", _RESOURCE_ID, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    content = _SEGMENT_NAME + resource
    if len(content) > _MAX_SEGMENT_BYTES:
        return None
    return _APP13 + struct.pack(">H", 2 + len(content)) + content
