"""Keep what a list of models has found out about files in the user's cache folder, for the next list.

The facts of a file count as long as its size, times and inode, and the versions of Supertile and spandrel, are those of
the time when it was read. They are shown and never used for loading. A cache that is damaged, or that others could have
written, is one that is empty.
"""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from ..version import version

FILE_NAME = "models.json"

_MAX_BYTES = 1 << 25
_MAX_FILES = 20_000
_MAX_TEXT = 2000
_SETTLED_NS = 2 * 10**9  # clocks of file systems may not tell two changes within so short a time
_FACTS = {"family": (str, type(None)), "variant": (str, type(None)), "scale": (int, type(None)),
          "license": (str, type(None)), "problem": (str, type(None))}  # fmt: skip

Facts = dict[str, Any]


def cache_file() -> Path | None:
    """Return the path of the cache, None if there is no home folder."""
    try:
        return cache_folder() / FILE_NAME
    except RuntimeError:
        return None


def cache_folder() -> Path:
    """Return the user's folder for what can be found out again. Raises RuntimeError if there is no home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "supertile"


class ListingCache:
    """Facts of model files by path.

    Args:
        path: of the cache; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        extra = " with extra architectures" if importlib.util.find_spec("spandrel_extra_arches") else ""
        self._version = f"{version()}, spandrel {installed_version('spandrel')}{extra}"
        self._path = path
        self._known: dict[str, dict[str, Any]] = {} if path is None else _read(path, self._version)
        self._new: dict[str, dict[str, Any]] = {}

    def get(self, file: Path, status: os.stat_result) -> Facts | None:
        """Return the facts of a file, None if it has changed since or was never read.

        status: of the file.
        """
        entry = self._known.get(os.path.abspath(file))
        if not isinstance(entry, dict) or entry.get("state") != _state(status):
            return None
        facts = entry.get("facts")
        return dict(facts) if isinstance(facts, dict) and _are_facts(facts) else None

    def put(self, file: Path, status: os.stat_result, facts: Facts) -> None:
        """Keep the facts of a file.

        Args:
            file: the model file.
            status: of the file, before it was read.
            facts: by name, those of `_FACTS`.
        """
        if max(status.st_mtime_ns, status.st_ctime_ns) + _SETTLED_NS < time.time_ns() and _are_facts(facts):
            self._new[os.path.abspath(file)] = {"state": _state(status), "facts": facts}

    def save(self) -> None:
        """Write what is new; if that is not possible, the next list takes longer."""
        if self._path is None or not self._new:
            return
        files = {**self._known, **self._new}
        content = {"version": self._version, "files": dict(list(files.items())[-_MAX_FILES:])}
        with suppress(OSError, ValueError):
            self._path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            descriptor, part = tempfile.mkstemp(dir=self._path.parent, prefix=f".{FILE_NAME}.", suffix=".part")
            try:
                with open(descriptor, "w", encoding="utf-8") as stream:
                    json.dump(content, stream)
                os.replace(part, self._path)
            except BaseException:
                os.unlink(part)
                raise


def _state(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(path: Path, wanted: str) -> dict[str, dict[str, Any]]:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or not _is_own(status):
                return {}
            content = stream.read(_MAX_BYTES + 1)
        values = json.loads(content) if len(content) <= _MAX_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    files = values.get("files") if isinstance(values, dict) and values.get("version") == wanted else None
    return files if isinstance(files, dict) else {}


def _is_own(status: os.stat_result) -> bool:
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Return True if facts are complete and can be shown on a terminal."""
    if facts.keys() != _FACTS.keys() or (facts["family"] is None) == (facts["problem"] is None):
        return False
    for name, types in _FACTS.items():
        value = facts[name]
        if not isinstance(value, types) or isinstance(value, bool):
            return False
        if isinstance(value, str) and (len(value) > _MAX_TEXT or not value.isprintable()):
            return False
    return facts["scale"] is None or 1 <= facts["scale"] <= 64
