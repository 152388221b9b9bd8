"""Which small image belongs to which large one, in the folders of benchmarks as they are found in the world.

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
    """A large image and the small one that belongs to it; without `small`, that is made from the large one.

    name: of the image, without suffix and marks where no other has the same. error: why there is no small one, where
    there should be.
    """

    name: str
    large: Path
    small: Path | None = None
    error: str | None = None


def large_images(folder: Path) -> list[Path]:
    """The large images that lie in a folder, by name; folders in it are not looked into.

    Where some are marked as large (`_HR`, `_GT`), these are meant; a small image of another one (`babyx4.png` beside
    `baby.png`) never is. Raises PlanError where there is no folder, or no image in it.
    """
    paths = _images(folder)
    if marked := [path for path in paths if _LARGE.search(path.stem)]:
        return marked
    stems = {path.stem for path in paths}
    return [path for path in paths if not any(name in stems for name in _names(path.stem, r"\d") if name != path.stem)]


def find_pairs(large: Path, small: Path | None, scale: int) -> list[Pair]:
    """A pair for each large image of a folder, its small one from the folder `small` if there is one.

    The two folders may be the same. Names are compared without what marks their kind; a mark of another scale
    (`babyx2.png` where x4 is asked for) belongs to another pair. Raises PlanError as `large_images`.
    """
    found = large_images(large)
    stems = [_LARGE.sub("", path.stem) or path.stem for path in found]
    names = [p.name if stems.count(stem) > 1 else stem for p, stem in zip(found, stems, strict=True)]
    if small is None:
        return [Pair(name, path) for name, path in zip(names, found, strict=True)]
    candidates: dict[str, dict[int, list[Path]]] = {}  # name -> how many marks were taken off -> files
    for path in _images(small):
        if path not in found:
            for marks, name in enumerate(_names(path.stem, str(scale))):
                candidates.setdefault(name, {}).setdefault(marks, []).append(path)
    return [_pair(name, path, candidates, small, scale) for name, path in zip(names, found, strict=True)]


def without_a_large_one(pairs: list[Pair], small: Path, scale: int) -> list[Path]:
    """Images in the folder `small` that belong to no pair, those with a mark of another scale left out."""
    taken = {pair.small for pair in pairs} | {pair.large for pair in pairs}
    return [path for path in _images(small) if path not in taken and not _of_another_scale(path.stem, scale)]


def _pair(name: str, path: Path, candidates: Mapping[str, Mapping[int, list[Path]]], small: Path, scale: int) -> Pair:
    bare = _LARGE.sub("", path.stem)
    for known_as in dict.fromkeys((path.stem, bare)):
        for _, files in sorted(candidates.get(known_as, {}).items(), reverse=True):  # marked as small counts more
            if len(files) > 1:
                several = " and ".join(file.name for file in files)
                return Pair(name, path, error=f"{several} in {small} could both be the small image of {path.name}")
            return Pair(name, path, files[0])
    looked_for = ", ".join(f"{bare}{mark}{path.suffix}" for mark in ("", f"x{scale}", "_LR"))
    return Pair(name, path, error=f"there is no small image of {path.name} in {small} (such as {looked_for})")


def _names(stem: str, scale: str) -> Iterator[str]:
    """A stem as it is, then without one mark of a small image after the other; `scale` is a pattern."""
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
    found = sorted(path for path in paths if path.suffix.lower() in READABLE_SUFFIXES)
    if not found:
        raise PlanError(f"{folder} holds no image files; images in folders inside it are not looked for.")
    return found
