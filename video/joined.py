"""Read FLV and Matroska files that were joined byte by byte as one, where FFmpeg stops at the second or third.

Joined MP4 and WMV files are only counted: the head of each would have to be merged with the first.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

from .container import name_of

_SIGNATURE = b"FLV\x01"
_HEAD_SIZE = 9
_TAG_HEAD_SIZE = 11
_LENGTH_SIZE = 4  # of the field after the head and after each tag

_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MAX_BOXES = 10_000


class _View(io.RawIOBase):
    """A read-only view of a file, which is closed with it if it was opened by a path."""

    def __init__(self, source: str | Path | BinaryIO) -> None:
        super().__init__()
        self.name = name_of(source)
        self._owns = isinstance(source, (str, os.PathLike))
        self._file = io.FileIO(source) if isinstance(source, (str, os.PathLike)) else source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._owns and not self.closed:
            self._file.close()
        super().close()


class JoinedFlv(_View):
    """A read-only FLV file without the heads of all files but the first.

    Heads are found while the tags before them are read, so nothing is read twice. A seek beyond them hides later ones.
    """

    def __init__(self, source: str | Path | BinaryIO) -> None:
        super().__init__(source)
        self._place = 0  # in the underlying file
        self._next_tag = _HEAD_SIZE + _LENGTH_SIZE
        self._heads: list[tuple[int, int]] = []  # place after each head that was passed, and bytes left out before it

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._place)
        if self._place == self._next_tag:
            self._pass_tag()
        if size >= 0 and self._place < self._next_tag:
            size = min(size, self._next_tag - self._place)
        data = self._file.read(size)
        self._place += len(data)
        return data

    def _pass_tag(self) -> None:
        """Set the place of the next tag, and pass the head of a file before this one."""
        head = self._file.read(_TAG_HEAD_SIZE)
        if head.startswith(_SIGNATURE):
            length = int.from_bytes(head[5:9], "big") + _LENGTH_SIZE
            self._place += length
            self._heads.append((self._place, self._left_out(self._place) + length))
            self._file.seek(self._place)
            head = self._file.read(_TAG_HEAD_SIZE)
        self._next_tag = self._place + _TAG_HEAD_SIZE + int.from_bytes(head[1:4], "big") + _LENGTH_SIZE
        self._file.seek(self._place)

    def _left_out(self, place: int) -> int:
        return max((length for after, length in self._heads if after <= place), default=0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._place = self._file.seek(offset, io.SEEK_END)
        else:
            offset += self.tell() if whence == io.SEEK_CUR else 0
            left_out = max((length for after, length in self._heads if after <= offset + length), default=0)
            self._place = max(0, offset + left_out)
        return self.tell()

    def tell(self) -> int:
        return self._place - self._left_out(self._place)


class JoinedMatroska(_View):
    """A read-only Matroska file whose segments seem to have an unknown length, since FFmpeg reads on after those.

    sizes: where the lengths of the segments are, as `matroska.segment_sizes` returns them.
    """

    def __init__(self, source: str | Path | BinaryIO, sizes: list[tuple[int, int]]) -> None:
        super().__init__(source)
        self._sizes = sizes
        self._file.seek(0)

    def read(self, size: int = -1) -> bytes:
        place = self._file.tell()
        data = bytearray(self._file.read(size))
        for start, end in self._sizes:
            unknown = ((1 << 7 * (end - start) + 1) - 1).to_bytes(end - start, "big")
            for position in range(max(start, place), min(end, place + len(data))):
                data[position - place] = unknown[position - start]
        return bytes(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def files_after_the_first(file: BinaryIO, format: str) -> int:
    """Return how many complete MP4 or ASF (WMV) files follow the first in a file.

    Args:
        file: seekable; read at the heads of its outermost boxes or objects only.
        format: FFmpeg's name of the demuxer.
    """
    is_asf, count, place, has_head = format == "asf", 0, 0, False
    size = file.seek(0, io.SEEK_END)
    for _ in range(_MAX_BOXES):
        if place + 24 > size:
            break
        file.seek(place)
        head = file.read(24)
        if is_asf:
            is_head, length = head[:16] == _ASF_HEADER, int.from_bytes(head[16:24], "little")
        else:
            is_head, length = head[4:8] == b"moov", int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
        count += is_head and has_head
        has_head |= is_head
        if length < 8:
            break
        place += length
    return count
