"""Write a file so that it appears complete or not at all: under a temporary name beside its target, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import ImageFileError


def check_target(
    target: Path, *, overwrite: bool, sources: Sequence[Path] = (), error: type[Exception] = ImageFileError
) -> None:
    """Raise `error` for a target that is one of the sources (also through links), a folder, or already there."""
    for source in sources:
        if same_file(source, target):
            raise error(f"{target} is the source itself; sources are never overwritten, choose another target.")
    if target.is_dir():
        raise error(f"{target} is a folder; name a file in it.")
    if not overwrite and os.path.lexists(target):
        raise error(f"{target} exists already; pass --overwrite (overwrite=True) to replace it.")


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


def publish(part: Path, target: Path, *, overwrite: bool, error: type[Exception] = ImageFileError) -> None:
    """Rename a complete file to `target`. Raises `error` if `target` appeared meanwhile and `overwrite` is False."""
    check_target(target, overwrite=overwrite, error=error)
    os.replace(part, target)


@contextmanager
def atomic_file(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a binary file for writing that becomes `target` at the end of the block, or vanishes after an exception.

    The parent folder must exist. Raises ImageFileError if `target` appeared meanwhile and `overwrite` is False.
    """
    part = part_of(target)
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(part, target, overwrite=overwrite)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
