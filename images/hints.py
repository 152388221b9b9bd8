"""Guess what was meant by a source or a target that cannot be: sentences for error messages."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # of two letters at least: C:/ is a drive


def is_address(path: str | Path) -> bool:
    """Return True for an address such as https://example.org/a.png, also as a Path, which halves its slashes."""
    match = _ADDRESS.match(Path(path).as_posix())
    return match is not None and not os.path.lexists(match[0])


def missing_source(path: Path, sources: Sequence[Path], target: Path) -> str:
    """Return a sentence about a source that does not exist: an address, swapped arguments, or a misspelled name."""
    if is_address(path):
        return f"{path} is an address; download the file first and name the copy."
    if len(sources) == 1 and target.exists() and not target.is_dir():
        return f"{path} does not exist, but {target} does: the source comes first, then the target."
    try:
        neighbors = [entry.name for entry in os.scandir(path.parent)]
    except OSError:
        return f"{path} does not exist; there is no folder {path.parent} either."
    near = difflib.get_close_matches(path.name, neighbors, n=1, cutoff=0.7)
    return f"{path} does not exist; did you mean {path.parent / near[0]}?" if near else f"{path} does not exist."
