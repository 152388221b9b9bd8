"""Decide which files become which, and in which format, before any work: `plan_jobs`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import SupertileError
from .io.animation import is_animated
from .io.atomic import same_file
from .io.errors import ImageFileError
from .io.formats import READABLE_SUFFIXES, WRITABLE_SUFFIXES, ImageFormat, format_of


class PlanError(SupertileError, ValueError):
    """The sources and the target do not go together. The message is one sentence."""

    exit_code = 2


@dataclass(frozen=True)
class FileJob:
    """One file to read and one to write.

    Attributes:
        source: the file to read.
        target: the file to write.
        format: what an image is written as; None for a video, whose container follows from the target's suffix.
    """

    source: Path
    target: Path
    format: ImageFormat | None = None


def plan_jobs(
    sources: Sequence[str | Path],
    target: str | Path,
    *,
    format: str | None = None,
    video_suffixes: Mapping[str, str] = MappingProxyType({}),
) -> list[FileJob]:
    """Return a job for each file in `sources`. Nothing is created.

    One file is written to `target` itself, or into it if it is a folder or ends with a separator. Several sources, or
    a folder, are written into the folder `target`. A folder is walked recursively for files with an image's suffix,
    hidden ones left out, and its structure is kept; among several sources each folder keeps its own name. In a folder,
    files keep their names; the suffix follows `format`, and is .png where the source's own format cannot be written.

    Args:
        sources: files and folders.
        target: a file or a folder.
        format: of images: "png", "jpg", "webp" or "tiff"; None keeps the format of each source where possible.
        video_suffixes: suffixes of files to take besides images, and the suffix that each gets in a folder. Whether
            their target is possible is not checked here.

    Raises:
        PlanError: a source does not exist, a folder holds no image, two sources would become the same file, or a
            target is a source.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        if not path.exists():
            raise PlanError(f"{path} does not exist.")
    to = Path(target)
    into_folder = to.is_dir() or str(target).endswith(("/", os.sep)) or len(paths) > 1 or paths[0].is_dir()
    try:
        wanted = None if format is None else format_of("", format)
        if into_folder:
            jobs = _jobs_into_folder(paths, to, wanted, video_suffixes)
        else:
            jobs = [_job_to_file(paths[0], to, wanted, video_suffixes)]
    except ImageFileError as error:
        raise PlanError(str(error)) from None
    _refuse_collisions(jobs)
    return jobs


def _job_to_file(source: Path, target: Path, wanted: ImageFormat | None, videos: Mapping[str, str]) -> FileJob:
    if wanted is not None and target.suffix and format_of(target) is not wanted:
        raise PlanError(f"{target} ends in {target.suffix!r}, but the format given is {wanted.value}.")
    if target.suffix.lower() in videos.values() or source.suffix.lower() in videos:
        return FileJob(source, target, wanted)
    if target.suffix.lower() == ".gif" and is_animated(source):
        return FileJob(source, target)
    return FileJob(source, target, wanted or format_of(target))


def _jobs_into_folder(
    paths: Sequence[Path], folder: Path, wanted: ImageFormat | None, videos: Mapping[str, str]
) -> list[FileJob]:
    if folder.exists() and not folder.is_dir():
        raise PlanError(f"{folder} is a file; several images need a folder as target.")
    jobs = []
    for path in paths:
        if path.is_dir():
            base = folder / path.resolve().name if len(paths) > 1 else folder
            files = list(_files_in(path, READABLE_SUFFIXES | videos.keys(), leaving_out=folder))
            if not files:
                raise PlanError(f"{path} holds no {'image or video' if videos else 'image'} files.")
        else:
            base, files = folder, [path]
        root = path if path.is_dir() else path.parent
        jobs += [_job_in_folder(file, base / file.relative_to(root), wanted, videos) for file in files]
    return jobs


def _job_in_folder(source: Path, target: Path, wanted: ImageFormat | None, videos: Mapping[str, str]) -> FileJob:
    """Give a target in a folder the suffix that follows from the source and the format."""
    suffix = target.suffix.lower()
    if (video_suffix := videos.get(suffix)) is not None:
        return FileJob(source, target if suffix == video_suffix else target.with_suffix(video_suffix))
    if suffix == ".gif" and wanted is None and is_animated(source):
        return FileJob(source, target)
    own = WRITABLE_SUFFIXES.get(suffix)
    format = wanted or own or ImageFormat.PNG
    return FileJob(source, target if own is format else target.with_suffix(format.suffix), format)


def _files_in(folder: Path, suffixes: Set[str], leaving_out: Path) -> Iterator[Path]:
    """Yield files with one of the suffixes, sorted; results of an earlier run inside the same folder are left out."""
    inside = not same_file(folder, leaving_out)
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not (inside and same_file(Path(root, name), leaving_out))
        )
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(root, name)


def _refuse_collisions(jobs: Sequence[FileJob]) -> None:
    taken: dict[str, Path] = {}
    files = {(stat.st_dev, stat.st_ino): job.source for job in jobs if (stat := job.source.stat()).st_ino}
    for job in jobs:
        name = os.path.realpath(job.target).casefold()  # on macOS and Windows A.png and a.png are one file
        if name in taken:
            raise PlanError(
                f"{taken[name]} and {job.source} would both become {job.target}; rename one or use separate folders."
            )
        taken[name] = job.source
        if job.target.exists():
            stat = job.target.stat()
            if (source := files.get((stat.st_dev, stat.st_ino))) is not None:
                raise PlanError(f"{job.target} would overwrite the source {source}; choose another target.")
