"""Find the small image that belongs to each large one, by the naming schemes of benchmarks.

baby.png          babyx4.png, baby_x4.png, babyLRx4.png, baby.png in another folder
img_001_HR.png    img_001_LR.png;  img_001_SRF_4_HR.png    img_001_SRF_4_LR.png
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..images.io.formats import READABLE_SUFFIXES
from ..images.jobs import PlanError

_LARGE = re.compile(r"[_-]?(HR|GT|gt|hr)$")
_SMALL = re.compile(r"([_-]?(LR|lr)|[_-](bicubic|bic))$")


@dataclass(frozen=True)
class Pair:
    """A large image and the small one that belongs to it.

    Attributes:
        name: the image's name, without suffix and marks unless another has the same.
        large: the high-resolution file.
        small: the low-resolution file; None if it is to be made from the large one, or is missing.
        error: why the small image is missing, if there should be one.
    """

    name: str
    large: Path
    small: Path | None = None
    error: str | None = None


def large_images(folder: Path) -> list[Path]:
    """Return the large images in a folder, by name, without those in folders inside it.

    If some are marked as large (`_HR`, `_GT`), these are returned; small images of another one (`babyx4.png` beside
    `baby.png`) never are. Raises PlanError if there is no folder, or no image in it.
    """
    paths = _images(folder)
    if marked := [path for path in paths if _LARGE.search(path.stem)]:
        return marked
    stems = {path.stem for path in paths}
    return [path for path in paths if not any(name in stems for name in _names(path.stem, r"\d") if name != path.stem)]


def find_pairs(large: Path, small: Path | None, scale: int) -> list[Pair]:
    """Return a pair for each large image of a folder.

    Names are compared without their marks ("_HR", "x4", "_LR"). An image with the mark of another scale (`babyx2.png`
    for x4) belongs to another pair.

    Args:
        large: folder of large images.
        small: folder of small images, which may be the same; None leaves `Pair.small` None.
        scale: how many times larger the large images are.

    Raises:
        PlanError: a folder is missing or holds no image.
    """
    paths = large_images(large)
    stems = [_LARGE.sub("", path.stem) or path.stem for path in paths]
    names = [p.name if stems.count(stem) > 1 else stem for p, stem in zip(paths, stems, strict=True)]
    if small is None:
        return [Pair(name, path) for name, path in zip(names, paths, strict=True)]
    candidates: dict[str, dict[int, list[Path]]] = {}  # name -> marks removed -> files
    for path in _images(small):
        if path not in paths:
            for marks, name in enumerate(_names(path.stem, str(scale))):
                candidates.setdefault(name, {}).setdefault(marks, []).append(path)
    return [_pair(name, path, candidates, small, scale) for name, path in zip(names, paths, strict=True)]


def unpaired(pairs: list[Pair], small: Path, scale: int) -> list[Path]:
    """Return images in the folder `small` that belong to no pair, except those with the mark of another scale."""
    taken = {pair.small for pair in pairs} | {pair.large for pair in pairs}
    return [path for path in _images(small) if path not in taken and not _of_another_scale(path.stem, scale)]


def _pair(name: str, path: Path, candidates: Mapping[str, Mapping[int, list[Path]]], small: Path, scale: int) -> Pair:
    bare = _LARGE.sub("", path.stem)
    for known_as in dict.fromkeys((path.stem, bare)):
        for _, files in sorted(candidates.get(known_as, {}).items(), reverse=True):  # more marks first
            if len(files) > 1:
                several = " and ".join(file.name for file in files)
                return Pair(name, path, error=f"{several} in {small} could both be the small image of {path.name}")
            return Pair(name, path, files[0])
    looked_for = ", ".join(f"{bare}{mark}{path.suffix}" for mark in ("", f"x{scale}", "_LR"))
    return Pair(name, path, error=f"there is no small image of {path.name} in {small} (such as {looked_for})")


def _names(stem: str, scale: str) -> Iterator[str]:
    """Yield a stem, then the stem without its last mark of a small image, and so on; `scale` is a regex."""
    of_scale = re.compile(rf"[_-]?([xX]|SRF[_-]?){scale}$")
    yield stem
    while mark := _SMALL.search(stem) or of_scale.search(stem):
        stem = stem[: mark.start()]
        yield stem


def _of_another_scale(stem: str, scale: int) -> bool:
    mark = re.search(r"(?:[xX]|SRF[_-]?)(\d)$", _SMALL.sub("", stem))
    return mark is not None and mark[1] != str(scale)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        is_file = folder.exists()
        raise PlanError(f"{folder} is a file, not a folder of images." if is_file else f"{folder} does not exist.")
    paths = (path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    images = sorted(path for path in paths if path.suffix.lower() in READABLE_SUFFIXES)
    if not images:
        raise PlanError(f"{folder} holds no image files; folders inside it are not searched.")
    return images
