"""Read one configuration file safely, and say of a key where it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from .mistakes import UsageMistakeError

try:
    import tomllib
except ImportError:  # Python 3.10
    try:
        import tomli as tomllib
    except ImportError:
        tomllib = None

_MAX_BYTES = 1 << 20
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


class ConfigFile:
    """A TOML file of settings.

    Attributes:
        path: as it was found or named.
        general: keys and values before the first table.
        tables: keys and values of each table.
    """

    def __init__(self, path: Path) -> None:
        """Read a file. Raises UsageMistakeError if it cannot be read, or is no such file."""
        self.path = path
        self._text = self._read()
        content = self._parse()
        self.tables: dict[str, dict[str, Any]] = {
            name: each for name, each in content.items() if isinstance(each, dict)
        }
        self.general = {key: value for key, value in content.items() if key not in self.tables}

    def refuse(self, key: str, problem: str, table: str = "") -> NoReturn:
        """Raise UsageMistakeError about a key of a table, or about the table of that name."""
        line = self._line_of(key, table)
        place = "" if line is None else f", line {line}"
        end = "" if problem.endswith("?") else "."
        raise UsageMistakeError(f"{self.path}{place}: {key}: {problem}{end}")

    def _read(self) -> str:
        try:
            if not self.path.is_file():
                raise UsageMistakeError(f"{self.path} is not a file of settings.")
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise UsageMistakeError(f"{self.path} cannot be read ({error.strerror}).") from None
        if len(content) > _MAX_BYTES:
            raise UsageMistakeError(f"{self.path} is too large for a file of settings.")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageMistakeError(f"{self.path} is not a text in UTF-8.") from None

    def _parse(self) -> dict[str, Any]:
        if tomllib is None:
            raise UsageMistakeError(
                f"{self.path} cannot be read without tomli: pip install 'supertile[cli]', or pass --no-config."
            )
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            place = _PLACE.search(str(error))
            line = f", line {place[1]}" if place and place[1] else ""
            raise UsageMistakeError(f"{self.path}{line}: {_PLACE.sub('', str(error))}.") from None
        except RecursionError:
            raise UsageMistakeError(f"{self.path} is nested too deeply for a file of settings.") from None

    def _line_of(self, key: str, table: str) -> int | None:
        """Return the number of the line where a key of a table, or a table, stands; None if it is written otherwise."""
        current = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            words = line.strip()
            if match := re.match(r"""\[\s*["']?([^\[\]"']+?)["']?\s*\]""", words):
                current = match[1]
                if not table and current == key:
                    return number
            elif current == table and re.match(rf"""["']?{re.escape(key)}["']?\s*=""", words):
                return number
        return None
