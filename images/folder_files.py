"""Find the files of a folder that can be read, and count by reason those that are left out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Set
from pathlib import Path

from .io.atomic import same_file
from .io.errors import ImageFileWarning

# Images that a folder may hold and that are counted when they cannot be read; other files are passed over in silence.
_IMAGE_SUFFIXES = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".avifs", ".jxl", ".jxr", ".wdp", ".hdp", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c",
    ".psd", ".psb", ".xcf", ".kra", ".ora", ".clip", ".afphoto", ".svg", ".svgz", ".eps", ".ai", ".emf", ".wmf", ".ico",
    ".icns", ".cur", ".pcx", ".sgi", ".rgb", ".xbm", ".xpm", ".pam", ".pfm", ".qoi", ".bpg", ".flif", ".ktx", ".ktx2",
    ".exr", ".hdr", ".dpx", ".cin", ".fits", ".dcm", ".jng", ".mng", ".pict", ".pct", ".ras", ".iff", ".raw", ".dng",
    ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f",
    ".3fr", ".fff", ".iiq", ".kdc", ".dcr", ".mrw", ".erf", ".rwl", ".gpr",
})  # fmt: skip
_MAX_NAMED = 5


class LeftOut:
    """Count the files that a folder holds and that cannot be read, by reason."""

    def __init__(self) -> None:
        self._paths: dict[str, list[Path]] = {}

    def add(self, path: Path, reason: str) -> None:
        """Count a file."""
        self._paths.setdefault(reason, []).append(path)

    def in_brackets(self) -> str:
        """Return an addition to the sentence about a folder that holds nothing else; "" if nothing was left out."""
        sentences = [self._sentence(reason) for reason in self._paths]
        return f" that can be read ({'; '.join(sentences)})" if sentences else ""

    def warn(self) -> None:
        """Warn once for each reason."""
        for reason in self._paths:
            warnings.warn(f"{self._sentence(reason)}.", ImageFileWarning, stacklevel=5)

    def _sentence(self, reason: str) -> str:
        paths = self._paths[reason]
        names = [str(path) for path in paths[:_MAX_NAMED]]
        if len(paths) > _MAX_NAMED:
            names.append(f"{len(paths) - _MAX_NAMED} more")
        *most, last = names
        listed = f"{', '.join(most)} and {last}" if most else last
        count = "1 file is" if len(paths) == 1 else f"{len(paths)} files are"
        return f"{count} left out, {reason}: {listed}"


def files_in(
    folder: Path,
    suffixes: Set[str],
    target: Path,
    left_out: LeftOut,
    *,
    subfolders: bool = True,
    confined: bool = False,
) -> Iterator[Path]:
    """Yield files with one of the suffixes, sorted; results of an earlier run inside the same folder are left out.

    Args:
        folder: to look through.
        suffixes: in lower case, with their points.
        target: folder of the results.
        left_out: counts the files that cannot be read.
        subfolders: look through the folders in it too.
        confined: leave out links that lead out of it.
    """
    inside, root = not same_file(folder, target), folder.resolve()
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]  # with the folders above it
    while waiting:
        folder, above = waiting.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in above:
                continue
            with os.scandir(folder) as entries:
                visible = sorted(
                    (each for each in entries if not each.name.startswith(".")), key=lambda each: each.name
                )
        except OSError as error:
            left_out.add(folder, f"as the folder cannot be opened ({error.strerror})")
            continue
        below = []
        for entry in visible:
            path = folder / entry.name
            suffix = path.suffix.lower()
            if confined and entry.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                left_out.add(path, "as the link leads out of the folder")
            elif path.is_dir() if entry.is_symlink() else entry.is_dir():
                if subfolders and not (inside and same_file(path, target)):
                    below.append(path)
            elif suffix not in suffixes:
                if suffix in _IMAGE_SUFFIXES:
                    left_out.add(path, "as their format cannot be read")
            elif entry.is_file(follow_symlinks=False) or not os.path.exists(path) or path.is_file():
                yield path
            else:
                left_out.add(path, "being neither files nor folders")
        here = above | {(status.st_dev, status.st_ino)} if status.st_ino else above
        waiting += [(subfolder, here) for subfolder in reversed(below)]
