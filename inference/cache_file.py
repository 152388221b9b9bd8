"""Keep what was measured or tried on this machine in a small file of the user's cache folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..weights.listing_cache import cache_folder

_MAX_BYTES = 1 << 20


class CacheFile:
    """A JSON object by name, whose latest entries are kept.

    Args:
        name: of the file.
        most: entries that are kept.
        is_valid: decides which values are of the form that is written here; others count as missing.
    """

    def __init__(self, name: str, most: int, is_valid: Callable[[object], bool]) -> None:
        self._name, self._most, self._is_valid = name, most, is_valid

    def read(self) -> dict[str, Any]:
        """Return the valid entries; none where the file is missing or damaged."""
        with suppress(OSError, ValueError, RuntimeError, RecursionError):
            with open(cache_folder() / self._name, "rb") as file:
                known = json.loads(file.read(_MAX_BYTES))
            if isinstance(known, dict):
                return {key: value for key, value in known.items() if self._is_valid(value)}
        return {}

    def put(self, key: str, value: Any) -> None:
        """Keep an entry, in place of what was known.

        Raises:
            OSError: the cache cannot be written.
            RuntimeError: there is no home folder.
        """
        known = self.read()
        known.pop(key, None)
        known = dict([*known.items(), (key, value)][-self._most :])
        folder = cache_folder()
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=folder, prefix=f".{self._name}.", suffix=".part")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(known, file, indent=1)
            os.replace(part, folder / self._name)
        except BaseException:
            os.unlink(part)
            raise
