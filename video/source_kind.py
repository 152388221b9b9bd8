"""Tell whether a source of any kind is compressed or noisy."""

from __future__ import annotations

from pathlib import Path

from ..images.source_kind import SourceKind
from ..images.source_kind import source_kind as image_kind
from .kinds import NUMBER, VIDEO_SUFFIXES, is_pattern


def source_kind(source: str | Path) -> SourceKind:
    """Return the kind of an image, an animation, a video or numbered images, of which the first decides."""
    source = Path(source)
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return SourceKind(True, "is a video")
    return image_kind(_first(source) if is_pattern(source) else source)


def _first(pattern: Path) -> Path:
    """Return the image of the lowest number; the pattern itself if there are none."""
    before, _, after = NUMBER.sub("\0", pattern.name).partition("\0")
    numbers = {}
    for path in pattern.parent.glob("*") if pattern.parent.is_dir() else ():
        number = path.name[len(before) : len(path.name) - len(after)]
        if path.name.startswith(before) and path.name.endswith(after) and number.isdecimal():
            numbers[int(number)] = path
    return numbers[min(numbers)] if numbers else pattern
