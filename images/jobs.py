"""Decide which files become which, and in which format, before any work: `plan_jobs`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ..errors import SupertileError
from .folder_files import LeftOut, files_in
from .hints import is_address, missing_source
from .io.animation import is_animated
from .io.atomic import same_file
from .io.errors import ImageFileError
from .io.formats import READABLE_SUFFIXES, TARGET_SUFFIXES, WRITABLE_SUFFIXES, ImageFormat, format_of
from .target_template import PLACEHOLDERS, TargetTemplate


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
    values_of: Callable[[Path, Path], Mapping[str, str]] | None = None,
    numbered: bool = False,
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

    A target with placeholders, "out/{stem}_{scale}x{suffix}", names the result of each source. The structure of a
    folder is kept, unless {parent} is among them. A name without a suffix gets that of the result. Files of a folder
    that are results of others there are left out.

    One ImageFileWarning for each reason counts and names what a folder holds that cannot be read. A link to a file that
    does not exist becomes a job, which fails.

    Args:
        sources: files and folders.
        target: a file, a folder, or either with placeholders (`target_template.PLACEHOLDERS`).
        format: of images: "png", "jpg", "webp" or "tiff"; None keeps the format of each source where possible.
        video_suffixes: suffixes of files to take besides images, and the suffix that each gets in a folder. Whether
            their target is possible is not checked here.
        values_of: returns model, scale, width and height for a source and the name of its result in a folder. None: a
            target with these is refused.
        numbered: True for the pattern of numbered images as the one source (frames/%06d.png), which is no file.
        subfolders: walk the folders in a folder too.
        confined: leave out links that lead out of their folder, for folders that others may write to. Braces in the
            target are part of its name then.

    Raises:
        PlanError: a source does not exist, the target is an address or, for several files, has the suffix of a file,
            a folder holds no image, two sources would become the same file, a target is a source, or a placeholder is
            unknown.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        if not numbered and not os.path.lexists(path):
            raise PlanError(missing_source(path, paths, Path(target)))
    to = Path(target)
    if is_address(to):
        raise PlanError(f"{target} is an address; name a file or a folder on this computer as the target.")
    template = None if confined else TargetTemplate.parse(str(target))
    if template is not None:
        return _jobs_by_template(paths, template, format, video_suffixes, values_of)
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
    return [
        _job_in_folder(file, folder / place, wanted, videos) for file, place in _placed(paths, folder, videos, **limits)
    ]


def _placed(paths: Sequence[Path], folder: Path, videos: Mapping[str, str], **limits: bool) -> list[tuple[Path, Path]]:
    """Return each file of the sources with its place below the target folder."""
    placed: list[tuple[Path, Path]] = []
    left_out = LeftOut()
    for path in paths:
        if path.is_dir():
            base = Path(path.resolve().name) if len(paths) > 1 else Path()
            files = list(files_in(path, READABLE_SUFFIXES | videos.keys(), folder, left_out, **limits))
            if not files:
                kinds = "image or video" if videos else "image"
                raise PlanError(f"{path} holds no {kinds} files{left_out.in_brackets()}.")
            placed += [(file, base / file.relative_to(path)) for file in files]
        else:
            placed.append((path, Path(path.name)))
    left_out.warn()
    return placed


def _jobs_by_template(
    paths: Sequence[Path],
    template: TargetTemplate,
    format: str | None,
    videos: Mapping[str, str],
    values_of: Callable[[Path, Path], Mapping[str, str]] | None,
) -> list[FileJob]:
    if unknown := template.unknown or (template.of_the_result if values_of is None else []):
        kind = "placeholder" if len(unknown) == 1 else "placeholders"
        raise PlanError(
            f"{template} has the unknown {kind} {_in_braces(unknown)}; there are {_in_braces(PLACEHOLDERS)}. Braces of "
            "a name itself are doubled: {{ and }}."
        )
    jobs = []
    try:
        wanted = None if format is None else format_of("", format)
        for source, place in _placed(paths, template.folder_for(paths), videos):
            place = _job_in_folder(source, place, wanted, videos).target
            values = values_of(source, place) if values_of is not None and template.of_the_result else {}
            jobs.append(_job_to_file(source, template.target(source, place, values), wanted, videos))
    except ImageFileError as error:
        raise PlanError(str(error)) from None
    jobs = _without_results(jobs, paths)
    _refuse_collisions(jobs)
    return jobs


def _without_results(jobs: Sequence[FileJob], given: Sequence[Path]) -> list[FileJob]:
    """Leave out files of a folder that are the targets of others: results of an earlier run beside their sources."""
    makers = {_key(job.target): job for job in jobs}
    return [job for job in jobs if job.source in given or makers.get(_key(job.source), job) is job]


def _in_braces(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


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
