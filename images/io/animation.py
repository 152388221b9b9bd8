"""Tell animations from single images by the structure of their files, without decoding. Loads no library."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

ANIMATION_SUFFIXES = (".gif", ".png", ".apng", ".webp")

_EXTENSION, _IMAGE, _BLOCK_END = b"\x21", b"\x2c", b"\0"


def is_animated(path: Path) -> bool:
    """Return True for a GIF, PNG or WebP with more than one frame; False for any other or unreadable file."""
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if head[:4] == b"\x89PNG":
                return _is_animated_png(file)
            if head[:4] == b"RIFF" and head[8:] == b"WEBP":
                return _is_animated_webp(file)
            return head[:3] == b"GIF" and _is_animated_gif(file)
    except (OSError, ValueError, IndexError):
        return False


def _is_animated_png(file: BinaryIO) -> bool:
    """Look for acTL with several frames before the first IDAT."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"acTL":
            return int.from_bytes(file.read(4), "big") > 1
        if head[4:] == b"IDAT":
            return False
        file.seek(length + 4, 1)
    return False


def _is_animated_webp(file: BinaryIO) -> bool:
    """Count ANMF chunks up to two."""
    file.seek(12)
    frames = 0
    while len(head := file.read(8)) == 8:
        if head[:4] in (b"VP8 ", b"VP8L"):
            return False
        frames += head[:4] == b"ANMF"
        if frames > 1:
            return True
        size = int.from_bytes(head[4:], "little")
        file.seek(size + size % 2, 1)
    return False


def _is_animated_gif(file: BinaryIO) -> bool:
    """Count image descriptors up to two (GIF89a, section 20)."""
    file.seek(10)
    flags = file.read(3)[0]
    file.seek(_table_bytes(flags), 1)
    frames = 0
    while (kind := file.read(1)) in (_EXTENSION, _IMAGE):
        if kind == _IMAGE:
            frames += 1
            if frames > 1:
                return True
            flags = file.read(9)[8]
            file.seek(_table_bytes(flags) + 1, 1)
        else:
            file.seek(1, 1)
        while (size := file.read(1)) not in (_BLOCK_END, b""):
            file.seek(size[0], 1)
    return False


def _table_bytes(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0
