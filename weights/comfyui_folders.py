"""The folders in which a ComfyUI looks for upscale models: its own, and those of its extra_model_paths.yaml.

That file is YAML, for which Python has no reader. It is read as it is written in practice: a mapping of mappings from
words to texts, of which some are blocks of lines after a "|". What is written otherwise is passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

EXTRA_PATHS = "extra_model_paths.yaml"

_KIND = "upscale_models"
_MAX_BYTES = 1 << 20
_ENTRY = re.compile(r"( *)([^\s#'\"][^:#]*?|'[^']*'|\"[^\"]*\")\s*:(?:\s+(.*))?")
_TRUE = frozenset({"true", "yes", "on"})


def comfyui_folders(root: Path) -> list[Path]:
    """Return the folders of upscale models of the ComfyUI in a folder, in its order; they need not exist."""
    folders = [root / "models" / _KIND]
    for section in _sections(_text_of(root / EXTRA_PATHS)):
        base = section.get("base_path")
        above = root.absolute()
        if base:
            above /= os.path.expandvars(os.path.expanduser(base))
        is_default = section.get("is_default", "").lower() in _TRUE
        for line in filter(None, section.get(_KIND, "").split("\n")):
            folder = Path(os.path.normpath(above / line))
            if folder in folders:
                if not is_default:
                    continue
                folders.remove(folder)
            folders.insert(0 if is_default else len(folders), folder)
    return folders


def _text_of(path: Path) -> str:
    """Return the text of a file, "" if it is none."""
    with suppress(OSError, ValueError):
        if path.is_file() and path.stat().st_size <= _MAX_BYTES:
            return path.read_text(encoding="utf-8-sig")
    return ""


def _sections(text: str) -> Iterator[dict[str, str]]:
    """Yield each mapping of texts that stands under a word at the beginning of a line."""
    section: dict[str, str] | None = None
    indent: int | None = None  # of the entries of the section
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (match := _ENTRY.fullmatch(line.rstrip())) is None:
            continue
        spaces, key, value = len(match[1]), _scalar(match[2]), match[3] or ""
        if spaces == 0:
            if section:
                yield section
            section, indent = ({}, None) if not _scalar(value) else (None, None)
        elif section is not None and spaces == (indent := spaces if indent is None else indent):
            if re.match(r"[|>][+-]?\s*(#.*)?$", value):
                block, number = _block(lines, number, spaces)
                section[key] = block
            else:
                section[key] = _scalar(value)
    if section:
        yield section


def _block(lines: list[str], number: int, indent: int) -> tuple[str, int]:
    """Return the lines from a number on that are indented further, without their indentation, and the next number."""
    block = []
    while number < len(lines) and (not lines[number].strip() or _spaces(lines[number]) > indent):
        block.append(lines[number])
        number += 1
    own = next((_spaces(line) for line in block if line.strip()), 0)
    return "\n".join(line[own:].rstrip() for line in block), number


def _spaces(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _scalar(text: str) -> str:
    """Return the text that a plain or quoted value means, without a comment after it."""
    text = text.strip()
    if match := re.fullmatch(r"('(?:[^']|'')*')\s*(?:\s#.*)?", text):
        return match[1][1:-1].replace("''", "'")
    if match := re.fullmatch(r"(\"(?:[^\"\\]|\\.)*\")\s*(?:\s#.*)?", text):
        with suppress(ValueError):
            return str(json.loads(match[1]))
        return match[1][1:-1]
    return re.sub(r"(^|\s)#.*$", "", text).strip()
