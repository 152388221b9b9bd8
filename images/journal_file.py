"""The file of a journal: lines of JSON, to which several processes append, and in which anything may stand."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAX_LINE_BYTES = 1 << 16
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_TEXTS = "source", "source_folder", "source_hash", "target", "options", "model_name"
_TYPES = {"settings": dict, **dict.fromkeys(_TEXTS, str)}
_HASHED_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One line: a file that was finished.

    Attributes:
        source: relative to `source_folder`, or absolute if that is empty.
        source_folder: the folder among the sources of the job that holds the source.
        source_hash: `content_hash` of the source.
        target: relative to the journal's folder.
        options: `settings_hash` of `settings`.
        settings: everything that decides the result, by name.
        model_name: for messages only; the settings have a hash of the weights.
    """

    source: str
    source_folder: str
    source_size: int
    source_mtime_ns: int
    source_hash: str
    target: str
    target_size: int
    target_mtime_ns: int
    options: str
    settings: dict[str, str]
    model_name: str

    @classmethod
    def parse(cls, text: bytes) -> JournalLine | None:
        """Return a line, None if it is not one that this class has written."""
        try:
            values = json.loads(text)
            line = cls(**values)
        except (ValueError, TypeError, RecursionError):
            return None
        if any(type(value) is not _TYPES.get(name, int) for name, value in values.items()):
            return None
        # They are shown to users, and a file that anybody could write must not control their terminal.
        shown = (line.model_name, *line.settings, *line.settings.values())
        if not all(isinstance(text, str) and text.isprintable() for text in shown):
            return None
        return line if line.options == settings_hash(line.settings) else None


def settings_hash(settings: Mapping[str, str]) -> str:
    """Return a short hash of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def content_hash(path: Path, status: os.stat_result) -> str:
    """Return a hash of a file that has not changed since it had a status; "" if it has, or is larger than 256 MiB."""
    if status.st_size > _HASHED_BYTES:
        return ""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
            now = os.fstat(file.fileno())
    except OSError:
        return ""
    unchanged = (now.st_size, now.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    return digest.hexdigest()[:32] if unchanged else ""


def append_line(path: Path, line: JournalLine) -> None:
    """Append a line. Raises OSError.

    It is not forced to the disk: no process's death can lose it, and after a power failure the target that it speaks of
    may be missing as well.
    """
    text = json.dumps({name: getattr(line, name) for name in line.__slots__}, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o666)
    try:
        if not _ends_with_newline(descriptor):
            text = b"\n" + text  # another process was killed while it wrote
        if os.write(descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def read_lines(path: Path, start: int) -> Iterator[tuple[JournalLine | None, int]]:
    """Yield lines from the byte `start` on, with the byte at which each ends; None for what is no line of a journal.

    An unfinished line at the end is left out. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    with open(descriptor, "rb") as file:
        _check_regular(descriptor)
        file.seek(start)
        for text in _whole_lines(file):
            start += len(text)
            yield JournalLine.parse(text), start


def _check_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def _ends_with_newline(descriptor: int) -> bool:
    """Return True for a file without an unfinished line."""
    _check_regular(descriptor)
    if not os.fstat(descriptor).st_size:
        return True
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) == b"\n"


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines up to the last that is complete; those that are too long come in several pieces."""
    while text := file.readline(_MAX_LINE_BYTES):
        if not text.endswith(b"\n") and len(text) < _MAX_LINE_BYTES:
            return
        yield text
