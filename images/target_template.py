"""Names of targets with placeholders: "out/{stem}_{scale}x{suffix}"."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PLACEHOLDERS = {
    "stem": "file name of the source without its suffix",
    "suffix": "suffix that the result gets in a folder, with its point",
    "name": "both together",
    "parent": "folder of the source",
    "model": "name of the model, without its suffix",
    "scale": "how many times larger the image becomes, as 4 or 1.5",
    "width": "of the result in pixels",
    "height": "of the result in pixels",
}
_OF_THE_RESULT = {"model", "scale", "width", "height"}
_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w*)\}")
_SEPARATORS = {"/", os.sep}


class TargetTemplate:
    """A target with placeholders.

    Attributes:
        placeholders: their names, also unknown ones, in order.
        folder: the folders before the first that has a placeholder, as text.
    """

    def __init__(self, literal: str, template: str) -> None:
        """Make a template; `parse` decides what is one.

        Args:
            literal: folders whose braces are their own, with the separator at their end.
            template: the rest, in which {{ and }} are braces.
        """
        if template[-1] in _SEPARATORS:
            template += "{name}"
        self._text, self._template = literal + template, template
        self.placeholders = list(dict.fromkeys(match[1] for match in _TOKEN.finditer(template) if match[1]))
        first = next(match.start() for match in _TOKEN.finditer(template) if match[1])
        start = max(template.rfind(separator, 0, first) for separator in _SEPARATORS) + 1
        self._literal, self._begins_with_parent = literal, not literal and template.startswith("{parent}")
        self.folder = literal + template[:start]
        last = _TOKEN.sub(_stand_in, re.split("[" + re.escape("".join(_SEPARATORS)) + "]", template)[-1])
        self._lacks_suffix = not Path(last).suffix

    @classmethod
    def parse(cls, target: str) -> TargetTemplate | None:
        """Return the template that a target is, None for one without placeholders.

        Folders and files that exist keep their braces: in "{old}/{stem}.png" only {stem} is a placeholder if there is a
        folder {old}.
        """
        start = 0
        for end in [i for i, letter in enumerate(target) if letter in _SEPARATORS] + [len(target)]:
            if any(match[1] for match in _TOKEN.finditer(target, start, end)) and not os.path.lexists(target[:end]):
                return cls(target[:start], target[start:])
            start = end + 1
        return None

    @property
    def unknown(self) -> list[str]:
        """The placeholders that do not exist."""
        return [name for name in self.placeholders if name not in PLACEHOLDERS]

    @property
    def of_the_result(self) -> list[str]:
        """The placeholders that the model and the size of the source decide."""
        return [name for name in self.placeholders if name in _OF_THE_RESULT]

    def folder_for(self, sources: Sequence[Path]) -> Path:
        """Return the folder that holds all results; that of the first source if they lie beside their sources."""
        if self._begins_with_parent and sources:
            return sources[0] if sources[0].is_dir() else sources[0].parent
        return Path(self.folder)

    def target(self, source: Path, place: Path, values: Mapping[str, str]) -> Path:
        """Return the target of a source.

        Args:
            source: the file.
            place: the path that the result would have in a target folder; its folders are kept, unless the template has
                {parent}.
            values: of the placeholders that `of_the_result` names.
        """
        parent = str(source.parent)
        if not self._begins_with_parent:  # below another folder, which must not be left
            parts = source.parent.parts
            parent = "/".join(part for part in parts if part not in ("..", source.parent.anchor)) or "."
        known = {"stem": source.stem, "suffix": place.suffix, "name": source.stem + place.suffix, "parent": parent}
        known |= values

        def value(match: re.Match[str]) -> str:
            return known[match[1]] if match[1] else match[0][0]

        filled = self._literal + _TOKEN.sub(value, self._template) + (place.suffix if self._lacks_suffix else "")
        path = Path(filled)
        return path if "parent" in self.placeholders else path.parent / place.parent / path.name

    def __str__(self) -> str:
        return self._text


def _stand_in(match: re.Match[str]) -> str:
    return {"suffix": ".x", "name": "x.x"}.get(match[1], "x")
