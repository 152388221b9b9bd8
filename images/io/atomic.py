"""Write a file so that it appears complete or not at all: under a temporary name beside its target, then renamed.

The temporary file is locked while its process lives. What is not locked is left from a process that was killed, and
`remove_stale_parts` deletes it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import ImageFileError

if sys.platform != "win32":
    import fcntl

OVERWRITE = "pass --overwrite (overwrite=True) to replace it"
"""Advice in the message about a target that exists."""

_PART = re.compile(r"\.(.*\.)?[0-9a-f]{8}\.part", re.DOTALL)


def check_target(
    target: Path, *, overwrite: bool, sources: Sequence[Path] = (), error: type[Exception] = ImageFileError
) -> None:
    """Raise `error` for a target that is one of the sources (also through links), a folder, or already there."""
    for source in sources:
        if same_file(source, target):
            raise error(f"{target} is the source itself; sources are never overwritten, choose another target.")
    if os.path.isdir(target):
        raise error(f"{target} is a folder; name a file in it.")
    if not overwrite and os.path.lexists(target):
        raise error(f"{target} exists already; {OVERWRITE}.")


def same_file(a: Path, b: Path) -> bool:
    """Return True if two paths are one file, also through symbolic links, hard links or another case of letters."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def part_of(target: Path) -> Path:
    """Return a hidden, random name beside `target`, to write under until the file is complete."""
    # File systems allow 255 bytes: the name is cut to leave room for what is added.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")


_locks: dict[Path, int] = {}
"""The locked files and folders of this process, and the descriptors that hold their locks."""


def lock_part(part: Path) -> None:
    """Create the file `part`, if there is no folder of that name, and lock it until `publish` or `unlock_part`."""
    descriptor = _open_locked(part, os.O_RDONLY if part.is_dir() else os.O_RDWR | os.O_CREAT)
    if descriptor is not None:
        _locks[part] = descriptor


def try_lock(path: Path) -> bool:
    """Lock a file or folder until `unlock_part`; return False if another process has locked it."""
    try:
        descriptor = _open_locked(path, os.O_RDONLY, wait=False)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without locks
        return True
    if descriptor is not None:
        _locks[path] = descriptor
    return True


def unlock_part(part: Path) -> None:
    """Release the lock of `part` if this process holds it."""
    if (descriptor := _locks.pop(part, None)) is not None:
        os.close(descriptor)


def _open_locked(path: Path, flags: int, *, wait: bool = True) -> int | None:
    """Return a descriptor that holds the lock of `path`; None on Windows, where open files cannot be deleted."""
    if sys.platform == "win32":
        return None
    while True:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            with suppress(OSError) if wait else nullcontext():  # some network file systems have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if not wait or os.fstat(descriptor).st_nlink:  # 0: taken for stale and deleted before it was locked
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_stale_parts(folder: Path) -> None:
    """Delete the unfinished files in a folder that killed processes have left. Never raises OSError."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_stale(folder / entry.name)


def _remove_if_stale(part: Path) -> None:
    mode = part.lstat().st_mode
    if not stat.S_ISREG(mode) and (not stat.S_ISDIR(mode) or sys.platform == "win32"):
        return
    descriptor = _open_locked(part, os.O_RDWR if stat.S_ISREG(mode) else os.O_RDONLY, wait=False)
    try:
        if stat.S_ISDIR(mode):
            shutil.rmtree(part)
        else:
            part.unlink()
    finally:
        if descriptor is not None:
            os.close(descriptor)


def copy_times(source: Path, target: Path) -> None:
    """Give a file the access and modification times of another."""
    times = source.stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


_recorders: dict[str, Callable[[Path], None]] = {}


@contextmanager
def before_publishing(target: Path, record: Callable[[Path], None]) -> Iterator[None]:
    """Within the block, call `record(part)` just before a complete file `part` is renamed to `target`, in any thread.

    The rename keeps the size and the modification time of `part`.
    """
    key = os.path.abspath(target)
    _recorders[key] = record
    try:
        yield
    finally:
        _recorders.pop(key, None)


def publish(part: Path, target: Path, *, overwrite: bool, error: type[Exception] = ImageFileError) -> None:
    """Rename a complete file to `target`. Raises `error` if `target` appeared meanwhile and `overwrite` is False."""
    check_target(target, overwrite=overwrite, error=error)
    if (record := _recorders.get(os.path.abspath(target))) is not None:
        record(part)
    os.replace(part, target)
    unlock_part(part)


@contextmanager
def atomic_file(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a binary file for writing that becomes `target` at the end of the block, or vanishes after an exception.

    The parent folder must exist. Raises ImageFileError if `target` appeared meanwhile and `overwrite` is False.
    """
    part = part_of(target)
    try:
        lock_part(part)
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(part, target, overwrite=overwrite)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        unlock_part(part)
        raise
