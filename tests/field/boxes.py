"""Boxes of MP4 (ISO/IEC 14496-12) as bytes, to put into files that FFmpeg does not write."""

from __future__ import annotations

import struct
from collections.abc import Callable

# Bytes before the boxes inside a box.
_HEADS = {b"stsd": 8, b"avc1": 78, b"mp4a": 28}
SAMPLE_DESCRIPTION = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", len(data) + 8) + kind + data


def edited(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> bytes:
    """Boxes with `change(kind, content)` in the place of those at a path. The samples must come before them."""
    result, start = b"", 0
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        kind, content = data[start + 4 : start + 8], data[start + 8 : start + size]
        if kind == path[0] and len(path) == 1:
            kind, content = change(kind, content)
        elif kind == path[0]:
            head = _HEADS.get(kind, 0)
            content = content[:head] + edited(content[head:], path[1:], change)
        result += box(kind, content)
        start += size
    return result


def with_clean_aperture(data: bytes, width: int, height: int, right: int, down: int) -> bytes:
    """An MP4 file of H.264 whose clean aperture has a size, and a center moved by (right, down) pixels."""
    clap = box(b"clap", struct.pack(">8i", width, 1, height, 1, right, 1, down, 1))
    return edited(data, (*SAMPLE_DESCRIPTION, b"avc1"), lambda kind, content: (kind, content + clap))


def with_encrypted(data: bytes, entry: bytes) -> bytes:
    """An MP4 file whose sample entries of a kind (mp4a) say that samples are encrypted (ISO/IEC 23001-7, cbcs)."""
    tenc = box(b"tenc", b"\1\0\0\0", b"\0\x19\1\0", bytes(range(16)), b"\x10", bytes(16))  # with a constant vector
    scheme = box(b"schm", b"\0\0\0\0cbcs\0\1\0\0") + box(b"schi", tenc)
    protection = box(b"sinf", box(b"frma", entry), scheme)
    kind = {b"mp4a": b"enca", b"avc1": b"encv"}[entry]
    return edited(data, (*SAMPLE_DESCRIPTION, entry), lambda _, content: (kind, content + protection))
