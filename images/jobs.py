"""Decide which files become which, and in which format, before any work: `plan_jobs`."""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ..errors import SupertileError
from .hints import is_address, missing_source
from .io.animation import is_animated
from .io.atomic import same_file
from .io.errors import ImageFileError, ImageFileWarning
from .io.formats import READABLE_SUFFIXES, TARGET_SUFFIXES, WRITABLE_SUFFIXES, ImageFormat, format_of

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
    subfolders: bool = True,
    confined: bool = False,
) -> list[FileJob]:
    """Return a job for each file in `sources`. Nothing is created.

    One file is written to `target` itself, or into it if it is a folder or ends with a separator. Several sources, or
    a folder, are written into the folder `target`. A folder is walked recursively for files with an image's suffix,
    hidden ones left out, and its structure is kept; among several sources each folder keeps its own name. Links to
    folders are followed, but never back into a folder above them. In a folder, files keep their names; the suffix
    follows `format`, and is .png where the source's own format cannot be written. Where a.png and a.bmp would both
    become a.png, the latter becomes a.bmp.png.

    One ImageFileWarning for each reason counts and names what a folder holds that cannot be read. A link to a file that
    does not exist becomes a job, which fails.

    Args:
        sources: files and folders.
        target: a file or a folder.
        format: of images: "png", "jpg", "webp" or "tiff"; None keeps the format of each source where possible.
        video_suffixes: suffixes of files to take besides images, and the suffix that each gets in a folder. Whether
            their target is possible is not checked here.
        subfolders: walk the folders in a folder too.
        confined: leave out links that lead out of their folder, for folders that others may write to.

    Raises:
        PlanError: a source does not exist, the target is an address or, for several files, has the suffix of a file,
            a folder holds no image, two sources of one name would become the same file, or a target is a source.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        if not os.path.lexists(path):
            raise PlanError(missing_source(path, paths, Path(target)))
    to = Path(target)
    if is_address(to):
        raise PlanError(f"{target} is an address; name a file or a folder on this computer as the target.")
    named_as_folder = to.is_dir() or str(target).endswith(("/", os.sep))
    into_folder = named_as_folder or len(paths) > 1 or paths[0].is_dir()
    if (
        into_folder
        and not named_as_folder
        and not to.exists()
        and to.suffix.lower() in {*TARGET_SUFFIXES, *video_suffixes.values()}
    ):
        results = "Several files" if len(paths) > 1 else f"The files of {paths[0]}"
        raise PlanError(
            f"{results} need a folder as target, and {target} is the name of a file; name a folder, or end it in /."
        )
    try:
        wanted = None if format is None else format_of("", format)
        if into_folder:
            jobs = _jobs_into_folder(paths, to, wanted, video_suffixes, subfolders=subfolders, confined=confined)
        else:
            jobs = [_job_to_file(paths[0], to, wanted, video_suffixes)]
    except ImageFileError as error:
        raise PlanError(str(error)) from None
    jobs = _with_a_name_each(jobs)
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
    paths: Sequence[Path],
    folder: Path,
    wanted: ImageFormat | None,
    videos: Mapping[str, str],
    **limits: bool,
) -> list[FileJob]:
    if folder.exists() and not folder.is_dir():
        raise PlanError(f"{folder} is a file; several images need a folder as target.")
    jobs: list[FileJob] = []
    left_out = _LeftOut()
    for path in paths:
        if path.is_dir():
            base = folder / path.resolve().name if len(paths) > 1 else folder
            files = list(_files_in(path, READABLE_SUFFIXES | videos.keys(), folder, left_out, **limits))
            if not files:
                kinds = "image or video" if videos else "image"
                raise PlanError(f"{path} holds no {kinds} files{left_out.in_brackets()}.")
        else:
            base, files = folder, [path]
        root = path if path.is_dir() else path.parent
        jobs += [_job_in_folder(file, base / file.relative_to(root), wanted, videos) for file in files]
    left_out.warn()
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


class _LeftOut:
    """Count the files that a folder holds and that cannot be read, by reason."""

    def __init__(self) -> None:
        self._paths: dict[str, list[Path]] = {}

    def add(self, path: Path, reason: str) -> None:
        self._paths.setdefault(reason, []).append(path)

    def in_brackets(self) -> str:
        sentences = [self._sentence(reason) for reason in self._paths]
        return f" that can be read ({'; '.join(sentences)})" if sentences else ""

    def warn(self) -> None:
        for reason in self._paths:
            warnings.warn(f"{self._sentence(reason)}.", ImageFileWarning, stacklevel=4)

    def _sentence(self, reason: str) -> str:
        paths = self._paths[reason]
        names = [str(path) for path in paths[:_MAX_NAMED]]
        if len(paths) > _MAX_NAMED:
            names.append(f"{len(paths) - _MAX_NAMED} more")
        *most, last = names
        listed = f"{', '.join(most)} and {last}" if most else last
        count = "1 file is" if len(paths) == 1 else f"{len(paths)} files are"
        return f"{count} left out, {reason}: {listed}"


def _files_in(
    folder: Path, suffixes: Set[str], target: Path, left_out: _LeftOut, *, subfolders: bool, confined: bool
) -> Iterator[Path]:
    """Yield files with one of the suffixes, sorted; results of an earlier run inside the same folder are left out."""
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


def _with_a_name_each(jobs: Sequence[FileJob]) -> list[FileJob]:
    """Rename the targets of files that have different names, but would become one: a.bmp beside a.png, a.bmp.png."""
    keys = [_key(job.target) for job in jobs]
    claims = Counter(key for key, _ in {(key, job.source.name) for key, job in zip(keys, jobs, strict=True)})
    owners = {key: job for key, job in zip(keys, jobs, strict=True) if claims[key] == 1}
    named = list(jobs)
    # A file that keeps its name has the first claim on it.
    for i in sorted(range(len(jobs)), key=lambda i: jobs[i].target.name != jobs[i].source.name):
        job, key, number = jobs[i], keys[i], 1
        if claims[key] == 1:
            continue
        if job.target.name != job.source.name:
            job = replace(job, target=job.target.with_name(job.source.name + job.target.suffix))
            key = _key(job.target)
        while key in owners and owners[key].source.name != job.source.name:
            number += 1
            name = f"{job.source.name}-{number}{jobs[i].target.suffix}"
            job = replace(job, target=job.target.with_name(name))
            key = _key(job.target)
        owners.setdefault(key, job)
        named[i] = job
    return named


def _refuse_collisions(jobs: Sequence[FileJob]) -> None:
    taken: dict[str, Path] = {}
    files = {(stat.st_dev, stat.st_ino): job.source for job in jobs if (stat := _stat(job.source)) and stat.st_ino}
    for job in jobs:
        name = _key(job.target)
        if name in taken:
            raise PlanError(
                f"{taken[name]} and {job.source} would both become {job.target}; rename one or use separate folders."
            )
        taken[name] = job.source
        stat = _stat(job.target)
        if stat is not None and (source := files.get((stat.st_dev, stat.st_ino))) is not None:
            raise PlanError(f"{job.target} would overwrite the source {source}; choose another target.")


def _stat(path: Path) -> os.stat_result | None:
    """Return the status of a file, None if there is none or its name cannot be one."""
    try:
        return path.stat()
    except OSError:
        return None


def _key(target: Path) -> str:
    """Return a text that is equal for two paths of one file."""
    path = os.path.realpath(target)
    return path.casefold() if _ignores_case(os.path.dirname(path)) else path


@cache
def _ignores_case(folder: str) -> bool:
    """Return True if A.png and a.png are one file there, which the spelling of the folders above it shows."""
    for path in (Path(folder), *Path(folder).parents):
        other = path.with_name(path.name.swapcase()) if path.name else path
        if other != path and path.exists():
            return other.exists() and same_file(path, other)
    return sys.platform in ("win32", "darwin")
