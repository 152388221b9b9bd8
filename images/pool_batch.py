"""Upscale many image files with several devices at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .batch import Outcome, refuse_dangling_link, settings_of
from .io.formats import format_of
from .jobs import FileJob
from .journal import Journal, JournalPlace, pending_file, reason_to_skip, recording
from .mask_file import MaskFile
from .size import Size
from .upscale import read_source, size_for, upscale_image, write_result

if TYPE_CHECKING:
    from ..inference.pool import UpscalerPool
    from ..inference.upscaler import Upscaler


@dataclass(frozen=True)
class ImageTask:
    """A file to be made, and all that decides it except the upscaler; see `upscale_image_files`."""

    job: FileJob
    size: Size
    quality: int
    overwrite: bool
    settings: Mapping[str, str]
    journal: JournalPlace | None
    mask: MaskFile | None = None


def upscale_image_files_with(
    pool: UpscalerPool,
    jobs: Iterable[FileJob],
    *,
    identity: Mapping[str, str],
    size: Size | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    skip_existing: bool = False,
    journal: Journal | None = None,
    mask: str | Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do the jobs, each by the next device that is free, and yield an Outcome for each as soon as it is done.

    Args:
        pool: the devices.
        jobs: as `plan_jobs` returns them.
        identity: of an upscaler with the pool's settings, for the journal.
        size, quality, overwrite, skip_existing, journal, mask: as `upscale_image_files` takes them.
        cancelled: called ten times a second; if it returns True, Cancelled is raised.
    """
    size = Size.coerce(size)
    mask_file = MaskFile.at(mask)
    decided: deque[Outcome] = deque()  # without a device

    def tasks() -> Iterator[ImageTask]:
        for job in jobs:
            try:
                settings = settings_of(format_of(job.target, job.format), identity, size, quality, mask_file)
                refuse_dangling_link(job.source)
                skipped = reason_to_skip(job, journal, settings, skip_existing=skip_existing, overwrite=overwrite)
            except Exception as error:
                decided.append(Outcome(job, error))
                continue
            if skipped:
                decided.append(Outcome(job, skipped=skipped))
            else:
                place = None if journal is None else journal.place
                yield ImageTask(job, size, quality, overwrite, settings, place, mask_file)

    for event in pool.run(upscale_task, tasks(), cancelled=cancelled):
        while decided:
            yield decided.popleft()
        if event.kind == "finished":
            yield event.value
        elif event.kind == "failed":
            yield Outcome(event.task.job, event.value)
    yield from decided


def upscale_task(
    upscaler: Upscaler, task: ImageTask, report: Callable[[Any], None], cancelled: Callable[[], bool]
) -> Outcome:
    """Make one file. Raises whatever its source or target causes."""
    journal = None if task.journal is None else Journal.at(task.journal)
    pending = None if journal is None else pending_file(task.job, task.settings)
    picture = read_source(task.job, upscaler, task.size, overwrite=task.overwrite)
    before, is_complete = (picture.width, picture.height), picture.is_complete
    started = time.perf_counter()
    mask = None if task.mask is None else task.mask.read()
    size = size_for(task.job, task.size)
    picture = upscale_image(picture, upscaler, size=size, mask=mask, cancelled=cancelled)
    seconds = time.perf_counter() - started
    with recording(journal, pending):
        write_result(task.job, picture, quality=task.quality, overwrite=task.overwrite)
    return Outcome(task.job, None, before, (picture.width, picture.height), seconds, is_complete)
