"""Find the XMP packet of a JPEG XL file, which its Pillow plugin does not read (ISO 18181-2)."""

from __future__ import annotations

import struct
from typing import BinaryIO

_CONTAINER = b"\0\0\0\x0cJXL "
_MAX_XMP_BYTES = 1 << 26


def read_xmp(file: BinaryIO) -> tuple[bytes | None, bool]:
    """Return the XMP packet of a file, and True if it has one that is compressed, which cannot be read."""
    file.seek(0)
    if file.read(8) != _CONTAINER:
        return None, False
    position = 0
    while True:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return None, False
        length, kind = struct.unpack_from(">I4s", head)
        header_bytes = 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack_from(">Q", head, 8)
            header_bytes = 16
        if kind == b"brob" and head[8:12] == b"xml ":
            return None, True
        if kind == b"xml ":
            file.seek(position + header_bytes)
            return file.read(min(length - header_bytes, _MAX_XMP_BYTES) if length else _MAX_XMP_BYTES), False
        if length < header_bytes:  # 0: the last box
            return None, False
        position += length
