"""The folders that Upscale Folder reads and writes: listed, checked, and their state. All are ComfyUI's or below."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import folder_paths

from ..images.jobs import FileJob
from ..inference.errors import UpscaleError
from .folders import quoted

KINDS = ("input", "output")
MAX_DEPTH, MAX_LISTED = 3, 500
"""The list goes that deep below input and output, and is no longer. A prompt may name other folders too."""
MAX_NAME_BYTES = 255  # as file systems allow


def source_folders() -> list[str]:
    """List "input", "output", and the folders below them, as "input/photos", without those that links lead out to."""
    found = [name for kind in KINDS for name in _below(kind, _base(kind), MAX_DEPTH)]
    return found[:MAX_LISTED]


def _below(name: str, folder: Path, depth: int) -> Iterator[str]:
    yield name
    if depth == 0:
        return
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if not each.name.startswith(".") and each.is_dir())
    except OSError:
        return
    for each in names:
        if is_source_folder(f"{name}/{each}"):
            yield from _below(f"{name}/{each}", folder / each, depth - 1)


def is_source_folder(name: object) -> bool:
    """Return True if a prompt may name this folder."""
    try:
        return isinstance(name, str) and source_folder(name).is_dir()
    except (OSError, ValueError, UpscaleError):
        return False


def source_folder(name: str) -> Path:
    """Return the path of a folder of the list, or of another below input or output. Raises UpscaleError for others."""
    kind, _, rest = name.partition("/")
    if kind not in KINDS or "\0" in name or not _is_inside(path := _base(kind) / rest, _base(kind)):
        raise UpscaleError(
            f"{quoted(name)} is not a folder of ComfyUI; choose {' or '.join(KINDS)}, or a folder below."
        )
    return path


def target_folder(name: str) -> Path:
    """Return the path of a folder below the output folder, which need not exist. Raises UpscaleError for others."""
    parts = PurePosixPath(name.strip().replace("\\", "/")).parts
    if not parts:
        raise UpscaleError("The output folder has no name; the results need a folder of their own, such as upscaled.")
    if any("\0" in part or len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        raise UpscaleError(f"{quoted(name)} cannot be the name of a folder.")
    if any(part.startswith(".") for part in parts):
        raise UpscaleError(f"The output folder {quoted(name)} is hidden or leads upward; choose a plain name.")
    path = _base("output").joinpath(*parts)
    if not _is_inside(path, _base("output")):
        raise UpscaleError(f"The output folder {quoted(name)} leads out of ComfyUI's output folder; choose another.")
    return path


def check_targets(jobs: Sequence[FileJob]) -> None:
    """Raise UpscaleError if a link leads one of the results out of the output folder."""
    for folder in {job.target.parent for job in jobs}:
        if not _is_inside(folder, _base("output")):
            below = folder.relative_to(_base("output")).as_posix()
            raise UpscaleError(f"The folder {below} is a link that leads out of the output folder; choose another.")


def shown(path: Path) -> str:
    """Return a path in ComfyUI's folders as users know it: "output/upscaled/a.png"."""
    for kind in KINDS:
        if path.is_relative_to(_base(kind)):
            return PurePosixPath(kind, path.relative_to(_base(kind)).as_posix()).as_posix()
    return path.name


def state(folders: Sequence[Path]) -> str:
    """Return a hash of the names, sizes and times of all visible files in these folders."""
    digest = hashlib.sha256()
    for top in folders:
        for folder, below, names in os.walk(top):
            below[:] = sorted(name for name in below if not name.startswith("."))
            digest.update(f"{folder}\0".encode(errors="surrogateescape"))
            for name in sorted(names):
                if name.startswith("."):
                    continue
                try:
                    facts = os.stat(os.path.join(folder, name))
                except OSError:
                    continue
                digest.update(f"{name}\0{facts.st_size} {facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _base(kind: str) -> Path:
    return Path(folder_paths.get_directory_by_type(kind))


def _is_inside(path: Path, base: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(base))
