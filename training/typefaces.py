"""Choose and open typefaces: Pillow's own, and TrueType and OpenType files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from numpy.random import Generator
from PIL import ImageFont

from .errors import TrainingError


def typeface_files(folder: Path) -> list[Path]:
    """Return the TrueType and OpenType files in a folder, by name; `TrainingError` if there are none."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".ttf", ".otf"))
    if not files:
        raise TrainingError(f"There are no .ttf or .otf files in {folder}")
    return files


def any_typeface(rng: Generator, files: Sequence[Path]) -> Path | None:
    """Return one of the files or, as often as each of them, None for Pillow's own typeface."""
    return None if not files or (index := int(rng.integers(-1, len(files)))) < 0 else files[index]


def font(typeface: Path | None, size: float) -> ImageFont.FreeTypeFont:
    """Return a typeface in a size in pixels; `TrainingError` if the file cannot be read as one."""
    try:
        opened = ImageFont.truetype(typeface, size) if typeface else ImageFont.load_default(size=size)
    except OSError as error:
        raise TrainingError(f"{typeface} cannot be read as a typeface ({error})") from error
    if not isinstance(opened, ImageFont.FreeTypeFont):
        raise TrainingError("This build of Pillow has no FreeType, which letters are drawn with")
    return opened
