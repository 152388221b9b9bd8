"""Take out of a report what is nobody else's business: home folders, user names, where other folders are."""

from __future__ import annotations

import getpass
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

_HOMES = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\Users\\)[^/\\\s:'\"]+")
_KEPT_PARTS = 2


def public(value: Any) -> Any:
    """Return a value as it may be shown: texts, in lists and as keys and values of mappings too."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {public(key): public(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(each) for each in value]
    return value


def public_path(path: str) -> str:
    """Return a path below the home folder with "~", and any other by its last folders."""
    text = _text(path)
    if text.startswith("~"):
        return text
    parts = Path(text).parts
    return text if len(parts) <= _KEPT_PARTS + 1 else os.path.join("...", *parts[-_KEPT_PARTS:])


def _text(text: str) -> str:
    for home in _own_homes():
        text = re.sub(rf"{re.escape(home)}(?=[/\\]|$|[\s:'\")])", "~", text)
    text = _HOMES.sub("~", text)
    name = _user()
    return re.sub(rf"(?<=[/\\]){re.escape(name)}(?=[/\\]|$)", "<user>", text) if name else text


def _own_homes() -> list[str]:
    homes = {os.environ.get("HOME", ""), os.environ.get("USERPROFILE", "")}
    with suppress(RuntimeError):
        homes |= {str(Path.home()), os.path.realpath(Path.home())}
    return sorted((home.rstrip("/\\") for home in homes if len(home.rstrip("/\\")) > 1), key=len, reverse=True)


def _user() -> str:
    with suppress(Exception):  # there may be no name for the number of a user
        return getpass.getuser()
    return ""
