"""A file appears whole or not at all: written beside its target under another name, then renamed over it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .picture import ImageFileError


def check_target(
    target: Path, *, overwrite: bool, sources: Sequence[Path] = (), error: type[Exception] = ImageFileError
) -> None:
    """Refuse a target that is one of the sources (also through links), a folder, or there already: raises `error`."""
    for source in sources:
        if same_file(source, target):
            raise error(f"{target} is the source itself; sources are never overwritten, give another target.")
    if target.is_dir():
        raise error(f"{target} is a folder, not a file that can be written.")
    if not overwrite and os.path.lexists(target):
        raise error(f"{target} exists already; pass --overwrite (overwrite=True) to replace it.")


def same_file(a: Path, b: Path) -> bool:
    """Whether two paths are one file: through symbolic links, hard links and case-insensitive file systems."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def part_of(target: Path) -> Path:
    """A hidden name beside `target`, another at each call, to write under until the file is complete."""
    # The start of the name only: 255 bytes is what file systems allow, and the suffix must fit as well.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")


def publish(part: Path, target: Path, *, overwrite: bool, error: type[Exception] = ImageFileError) -> None:
    """Give a complete file, already on disk, its name. Raises `error` when `target` appeared meanwhile."""
    check_target(target, overwrite=overwrite, error=error)
    os.replace(part, target)


@contextmanager
def atomic_file(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A binary file to write; on leaving it is on disk under `target`, after an exception nothing is left.

    The parent folder must exist. Raises ImageFileError when `target` appeared meanwhile and `overwrite` is False.
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
