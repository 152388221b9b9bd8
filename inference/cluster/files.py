"""Files that a task needs on another machine: used in place where the machine sees them, else copied to it.

A task that reads and writes files is a `FileTask`. A worker computes it in a folder of its own, so that two workers
that compute the same task, or one that is believed dead, never write over each other's files. Only the process that
distributes the tasks puts the result in its place.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..errors import Cancelled, UpscaleError

if sys.platform != "win32":
    import fcntl

MAX_SENT_BYTES = 4 * 2**30
"""Size of the largest file that is copied to a machine which does not see it."""
CHUNK_BYTES = 16 * 2**20
_EDGE_BYTES = 2**20
_PREFIX = "supertile-"

Read = Callable[[Path, int, int], bytes]
"""(path, offset, size) -> bytes of a file of the machine that distributes the tasks."""


@runtime_checkable
class FileTask(Protocol):
    """A task that reads files and writes its results into a folder."""

    @property
    def folder(self) -> Path:
        """Where the results belong."""

    def inputs(self) -> Sequence[Path]:
        """Return the files to be read."""

    def moved(self, files: Mapping[Path, Path], folder: Path) -> FileTask:
        """Return a task that reads the inputs from other paths and writes to another folder, which exists."""

    def outputs(self) -> Sequence[Path]:
        """Return the files that have been written, in the order in which they are to appear in `folder`."""


@dataclass(frozen=True)
class FileStamp:
    """A file, and what tells it from another that has the same path on another machine.

    Attributes:
        path: absolute.
        size: in bytes.
        digest: SHA-256 of its first and last mebibyte.
    """

    path: Path
    size: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Describe a file. Raises OSError."""
        path = path.absolute()
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(file.read(_EDGE_BYTES))
            file.seek(max(0, size - _EDGE_BYTES))
            digest.update(file.read(_EDGE_BYTES))
        return cls(path, size, digest.hexdigest())

    def is_here(self) -> bool:
        """Return True if this machine sees the file, under the same path."""
        try:
            return FileStamp.of(self.path) == self
        except OSError:
            return False


class NodeFiles:
    """The files of one worker, in a temporary folder that all workers of its machine and its pool share.

    Args:
        pool: random name of the pool.
        machine: name of the machine, for errors.
        read: reads files of the machine that distributes the tasks.
        shared: whether files are the same on both machines; None: find out for each.
    """

    def __init__(self, pool: str, machine: str, read: Read, shared: bool | None) -> None:
        self._machine, self._read, self._shared = machine, read, shared
        self.root = Path(tempfile.gettempdir()) / f"{_PREFIX}{pool}"
        _remove_stale_roots(self.root)
        self._lock = _lock_root(self.root)
        self._places: dict[Path, Path] = {}
        self._temporary: list[Path] = []

    def locate(self, stamp: FileStamp, run: str, cancelled: Callable[[], bool] = lambda: False) -> Path:
        """Return the path of a file on this machine, to which it is copied if necessary.

        Args:
            stamp: of the file.
            run: name of a folder for the copy, which `clear` deletes.
            cancelled: called for each chunk.

        Raises:
            UpscaleError: the file is too large to be copied, or cannot be read or written. One sentence.
            Cancelled: `cancelled` returned True.
        """
        if self._shared or (self._shared is None and stamp.is_here()):
            return stamp.path
        if stamp.size > MAX_SENT_BYTES:
            raise UpscaleError(
                f"{stamp.path} is not visible on {self._machine}, and with {stamp.size / 2**30:.1f} GiB too large to "
                f"be sent there (limit: {MAX_SENT_BYTES / 2**30:.0f} GiB); use storage that all machines share."
            )
        folder = self.root / run
        copy = folder / f"{stamp.digest[:16]}{stamp.path.suffix}"
        try:
            folder.mkdir(exist_ok=True)
            with _locked(folder / f"{stamp.digest[:16]}.lock"):
                if not copy.exists():
                    self._copy(stamp, copy, cancelled)
        except OSError as error:
            raise UpscaleError(f"{stamp.path} cannot be copied to {self._machine}: {error}.") from error
        return copy

    def _copy(self, stamp: FileStamp, copy: Path, cancelled: Callable[[], bool]) -> None:
        partial = copy.with_suffix(".partial")
        with open(partial, "wb") as file:
            for offset in range(0, stamp.size, CHUNK_BYTES):
                if cancelled():
                    raise Cancelled("the upscaling was cancelled")
                file.write(self._read(stamp.path, offset, CHUNK_BYTES))
        if partial.stat().st_size != stamp.size:
            raise UpscaleError(f"{stamp.path} changed while it was sent to {self._machine}.")
        os.replace(partial, copy)

    def place(self, folder: Path, *, seen: bool) -> Path:
        """Return this worker's own folder for results that belong into `folder`: inside it if possible.

        Args:
            folder: where the results belong.
            seen: whether this machine sees that folder.
        """
        if folder not in self._places:
            name = f".worker.{secrets.token_hex(4)}.part"  # what a killed worker leaves, the next run deletes
            place = folder / name
            try:
                if not seen:
                    raise FileNotFoundError(folder)
                place.mkdir()
            except OSError:
                place = self.root / name
                place.mkdir()
            self._places[folder] = place
        return self._places[folder]

    def clear(self, run: str) -> None:
        """Delete the copies of a run, and all results. Never raises OSError."""
        for place in self._places.values():
            shutil.rmtree(place, ignore_errors=True)
        self._places.clear()
        shutil.rmtree(self.root / run, ignore_errors=True)

    def close(self) -> None:
        """Delete everything, unless other workers of the machine use it."""
        os.close(self._lock)
        _remove_if_stale(self.root)


def deliver(path: Path, folder: Path, read: Callable[[Path], bytes]) -> None:
    """Move a result that a worker has written into its place, atomically. Raises OSError.

    Args:
        path: of the result, on the worker's machine.
        folder: where it belongs, on this machine.
        read: returns the content of the result if this machine does not see it.
    """
    target = folder / path.name
    with suppress(OSError):
        os.scandir(path.parent).close()  # lets network file systems look again
        os.replace(path, target)
        return
    part = folder / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        with open(part, "xb") as file:
            file.write(read(path))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock_root(root: Path) -> int:
    """Create a folder and return a descriptor that proves, until this process ends, that it is used."""
    while True:
        root.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform == "win32":
            return descriptor
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:  # 0: another process has just deleted it
            return descriptor
        os.close(descriptor)


def _remove_stale_roots(own: Path) -> None:
    """Delete the folders that killed workers of this user have left, except `own`."""
    with suppress(OSError):
        for root in own.parent.glob(f"{_PREFIX}{'[0-9a-f]' * 16}"):
            if root != own:
                _remove_if_stale(root)


def _remove_if_stale(root: Path) -> None:
    if sys.platform == "win32":
        return
    with suppress(OSError):
        if root.lstat().st_uid != os.getuid():
            return
        descriptor = os.open(root / "lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(root, ignore_errors=True)
        finally:
            os.close(descriptor)
