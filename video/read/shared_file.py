"""Share one file object between several readers, each with its own position."""

from __future__ import annotations

import io
import threading
from typing import Any, BinaryIO


class SharedFile(io.RawIOBase):
    """A read-only view of a seekable binary file. Closing a view leaves the file open."""

    def __init__(self, file: BinaryIO, lock: threading.Lock) -> None:
        super().__init__()
        self._file, self._lock, self._position = file, lock, 0
        if isinstance(name := getattr(file, "name", None), str):
            self.name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        with self._lock:
            self._file.seek(self._position)
            data = self._file.read(-1 if size is None else size)
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            with self._lock:
                offset += self._file.seek(0, io.SEEK_END)
        if offset < 0:
            raise ValueError(f"A file has no position {offset}.")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position


def views(file: BinaryIO, count: int = 2) -> tuple[SharedFile, ...]:
    """Return `count` views of `file`, for readers in any threads.

    The views move the position of `file`, so do not use it itself meanwhile.
    """
    lock = threading.Lock()
    return tuple(SharedFile(file, lock) for _ in range(count))
