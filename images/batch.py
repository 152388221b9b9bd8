"""Many images: which file becomes which (planned before any work), and the work, file after file.

While one image is in the network, the next is read and the one before is written; no more than these three are in
memory. A file that fails does not stop the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import SupertileError
from ..inference.errors import UpscaleError
from .io.atomic import same_file
from .io.files import READABLE_SUFFIXES, WRITABLE_SUFFIXES, format_of, read_image
from .io.picture import ImageFileError, Picture
from .size import SizeError
from .upscale import check_before_reading, check_before_upscaling, upscale_image, write_into_folder

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_SUFFIX_OF_FORMAT = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}


class PlanError(SupertileError, ValueError):
    """The sources and the target do not go together. The message is one sentence."""

    exit_code = 2


@dataclass(frozen=True)
class Job:
    """One file to read and one to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: sizes are (width, height); `error` is None for one that succeeded."""

    job: Job
    error: Exception | None = None
    source_size: tuple[int, int] = (0, 0)
    target_size: tuple[int, int] = (0, 0)
    seconds: float = 0.0  # in the network


def plan(
    sources: Sequence[str | Path],
    target: str | Path,
    *,
    format: str | None = None,
    also: Mapping[str, str] = MappingProxyType({}),
) -> list[Job]:
    """Which file becomes which.

    also: suffixes of other files that are taken beside images (videos), and the suffix each gets in a folder; what a
    target of theirs may be is not checked here.

    One file goes to `target` itself, or into it when it is a folder or ends with a separator. Several sources, or a
    folder, go into the folder `target`. A folder is walked recursively for files with an image's suffix, hidden ones
    left out, its structure kept; among several sources each folder keeps its own name. In a folder, files keep their
    name; the suffix follows `format`, and is .png where the source's own format cannot be written.

    Raises PlanError when a source does not exist or a folder holds no image, when two sources would become the
    same file, and when a target is a source. Nothing is created.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        if not path.exists():
            raise PlanError(f"{path} does not exist.")
    folder = Path(target)
    try:
        suffix = None if format is None else _SUFFIX_OF_FORMAT[format_of("", format)]
        into_folder = folder.is_dir() or str(target).endswith(("/", os.sep)) or len(paths) > 1 or paths[0].is_dir()
        if not into_folder:
            if format is not None and folder.suffix and format_of(folder) != format_of(folder, format):
                raise PlanError(f"{folder} ends in {folder.suffix!r}, but the format asked for is {format}.")
            if folder.suffix.lower() not in also.values() and paths[0].suffix.lower() not in also:
                format_of(folder, format)
    except ImageFileError as error:
        raise PlanError(str(error)) from None
    if into_folder and folder.exists() and not folder.is_dir():
        raise PlanError(f"{folder} is a file; several images need a folder to go into.")

    jobs = []
    for path in paths:
        if path.is_dir():
            base = folder / path.resolve().name if len(paths) > 1 else folder
            wanted = READABLE_SUFFIXES | also.keys()
            found = [(file, base / file.relative_to(path)) for file in _files_in(path, wanted, leaving_out=folder)]
            if not found:
                raise PlanError(f"{path} holds no {'image or video' if also else 'image'} files.")
        else:
            found = [(path, folder / path.name if into_folder else folder)]
        jobs += [Job(file, _with_suffix(to, suffix, also) if into_folder else to) for file, to in found]
    _refuse_collisions(jobs)
    return jobs


def _files_in(folder: Path, suffixes: Set[str], leaving_out: Path) -> Iterator[Path]:
    """Files with one of the suffixes, sorted; results of an earlier run inside the same folder are left out."""
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


def _with_suffix(target: Path, suffix: str | None, also: Mapping[str, str]) -> Path:
    if (other := also.get(target.suffix.lower())) is not None:
        return target if target.suffix.lower() == other else target.with_suffix(other)
    if suffix is not None:
        same_format = WRITABLE_SUFFIXES.get(target.suffix.lower()) == WRITABLE_SUFFIXES[suffix]
        return target if same_format else target.with_suffix(suffix)
    return target if target.suffix.lower() in WRITABLE_SUFFIXES else target.with_suffix(".png")


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    taken: dict[str, Path] = {}
    files = {(stat.st_dev, stat.st_ino): job.source for job in jobs if (stat := job.source.stat()).st_ino}
    for job in jobs:
        name = os.path.realpath(job.target).casefold()  # macOS and Windows do not tell A.png from a.png
        if name in taken:
            raise PlanError(
                f"{taken[name]} and {job.source} would both become {job.target}; rename one, or upscale them apart."
            )
        taken[name] = job.source
        if job.target.exists():
            stat = job.target.stat()
            if (source := files.get((stat.st_dev, stat.st_ino))) is not None:
                raise PlanError(f"{job.target} would overwrite the source {source}; give another target.")


def upscale_image_files(
    jobs: Iterable[Job],
    upscaler: Upscaler,
    *,
    size: str | None = None,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Do the jobs, yielding an Outcome for each in their order; a file is whole on disk when its Outcome comes.

    ImageFileError, SizeError and UpscaleError become outcomes; anything else (Cancelled, programming
    errors) is raised, after the file being written is finished. progress, cancelled: as `upscale_image`.
    """
    queue = iter(jobs)

    def read(job: Job) -> Picture:
        check_before_reading(job.source, job.target, format=format, overwrite=overwrite)
        picture = read_image(job.source)
        check_before_upscaling(picture, job.target, upscaler, size=size, format=format)
        return picture

    def write(job: Job, picture: Picture) -> None:
        write_into_folder(
            job.target, picture, format=format, quality=quality, overwrite=overwrite, sources=[job.source]
        )

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def read_next() -> tuple[Job, Future[Picture]] | None:
            job = next(queue, None)
            return None if job is None else (job, reader.submit(read, job))

        reading = read_next()
        writing: tuple[Outcome, Future[None]] | None = None
        while reading is not None:
            job, future = reading
            picture = error = None
            try:
                picture = future.result()
            except (ImageFileError, SizeError, UpscaleError) as caught:
                error = caught
            del future
            reading = read_next()
            started = time.perf_counter()
            if picture is not None:
                before = (picture.width, picture.height)
                try:
                    picture = upscale_image(picture, upscaler, size=size, progress=progress, cancelled=cancelled)
                except (SizeError, UpscaleError) as caught:
                    error = caught
            if writing is not None:
                yield _written(*writing)
                writing = None
            if error is not None or picture is None:
                yield Outcome(job, error)
                continue
            outcome = Outcome(job, None, before, (picture.width, picture.height), seconds=time.perf_counter() - started)
            writing = (outcome, writer.submit(write, job, picture))
        if writing is not None:
            yield _written(*writing)


def _written(outcome: Outcome, future: Future[None]) -> Outcome:
    try:
        future.result()
    except ImageFileError as error:
        return Outcome(outcome.job, error)
    return outcome
