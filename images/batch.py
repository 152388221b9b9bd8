"""Upscale many image files, one after the other: `upscale_image_files`.

While one image is in the network, the next is read and the one before is written, so at most three are in memory. A
file that fails does not stop the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..inference.errors import Cancelled
from .choice import Identities, UpscalerChoice, upscaler_for
from .io.errors import ImageFileError
from .io.formats import ImageFormat, format_of
from .io.picture import Picture
from .jobs import FileJob
from .journal import DONE_BEFORE, Journal, PendingFile, pending_file, reason_to_skip, recording
from .mask_file import MaskFile
from .size import Size, SizeError
from .upscale import memory_shortage, read_source, size_for, upscale_image, write_result

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_SMALL_PIXELS = 1 << 18
"""Smaller sources do not wait for memory."""
_WITH_QUALITY = (ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.AVIF, ImageFormat.JXL)


@dataclass(frozen=True)
class Outcome:
    """The result of one job.

    Attributes:
        job: the job.
        error: why it failed: a SupertileError, or whatever a library raised; None if it succeeded.
        source_size: (width, height) of the source in pixels.
        target_size: (width, height) of the result in pixels.
        seconds: time in the network, without reading and writing.
        complete: False if the source ended early, so that the last of its pixels are missing.
        skipped: why the file was not made: "done before", "existed already"; else "".
    """

    job: FileJob
    error: Exception | None = None
    source_size: tuple[int, int] = (0, 0)
    target_size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    complete: bool = True
    skipped: str = ""


def upscale_image_files(
    jobs: Iterable[FileJob],
    upscaler: Upscaler | UpscalerChoice,
    *,
    size: Size | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    skip_existing: bool = False,
    journal: Journal | None = None,
    mask: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Do the jobs in order and yield an Outcome for each; by then its file is complete on disk.

    Args:
        jobs: as `plan_jobs` returns them.
        upscaler: the model, or a choice between two by the source.
        size: of each result, see `Size.parse`; None is the model's own scale.
        quality: 1 to 100, for JPEG and WebP.
        overwrite: replace targets that exist. Sources are never replaced.
        skip_existing: skip targets that exist, unless `journal` knows that they were made otherwise.
        journal: of the target folder. Files that it proves to be made by these jobs are skipped, without being read,
            unless `overwrite` is True; finished files are recorded in it.
        mask: image file that marks where the model's result is wanted, for all images; see `upscale_image`.
        progress: called with the tiles done and the tiles known so far, for each run of the model.
        cancelled: called before each batch of tiles; if it returns True, Cancelled is raised.

    Every Exception that a file causes becomes its outcome; a mask that cannot be read is raised at once. Cancelled, and
    what the callbacks raise, is raised after the
    file being written is finished.
    """
    size = Size.coerce(size)
    callbacks = Callbacks()
    progress, cancelled = callbacks.watch(progress), callbacks.watch(cancelled)
    queue = iter(jobs)
    identities = Identities(upscaler)
    mask_file = MaskFile.at(mask)

    @cache
    def settings_in(format: ImageFormat, upscaler: Upscaler) -> dict[str, str]:
        return settings_of(format, identities.of_upscaler(upscaler), size, quality, mask_file)

    def settings(job: FileJob) -> dict[str, str]:
        if journal is None:
            return {}
        return settings_in(format_of(job.target, job.format), upscaler_for(job.source, upscaler))

    def reason(job: FileJob) -> str:
        return reason_to_skip(job, journal, settings(job), skip_existing=skip_existing, overwrite=overwrite)

    def read(job: FileJob) -> _Source:
        refuse_dangling_link(job.source)
        if skipped := reason(job):
            return _Source(skipped=skipped)
        pending = None if journal is None else pending_file(job, settings(job))
        own = upscaler_for(job.source, upscaler)
        return _Source(read_source(job, own, size, overwrite=overwrite), own, pending)

    def write(pending: PendingFile | None, job: FileJob, picture: Picture) -> None:
        with recording(journal, pending):
            write_result(job, picture, quality=quality, overwrite=overwrite)

    def written(outcome: Outcome, future: Future[None]) -> Outcome:
        try:
            future.result()
        except Exception as error:
            if isinstance(error, ImageFileError) and reason(outcome.job) == DONE_BEFORE:
                return Outcome(outcome.job, skipped=DONE_BEFORE)  # another process was faster
            return Outcome(outcome.job, error)
        return outcome

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def read_next() -> tuple[FileJob, Future[_Source]] | None:
            job = next(queue, None)
            return None if job is None else (job, reader.submit(read, job))

        reading = read_next()
        writing: tuple[Outcome, Future[None]] | None = None
        while reading is not None:
            job, future = reading
            (picture, own, pending, skipped), error = _Source(), None
            try:
                picture, own, pending, skipped = future.result()
            except Exception as caught:
                error = caught
            del future
            reading = read_next()
            if writing is not None and picture is not None and own and _is_short_of_memory(picture, own, size):
                yield written(*writing)
                writing = None
            started = time.perf_counter()
            if picture is not None and own is not None:
                before = (picture.width, picture.height)
                try:
                    picture = upscale_image(
                        picture,
                        own,
                        size=size_for(job, size),
                        mask=None if mask_file is None else mask_file.read(),
                        progress=progress,
                        cancelled=cancelled,
                    )
                except Exception as caught:
                    if callbacks.ended_by(caught):
                        raise
                    error = caught
            if writing is not None:
                yield written(*writing)
                writing = None
            if error is not None or picture is None:
                yield Outcome(job, error, skipped=skipped)
                continue
            after, seconds = (picture.width, picture.height), time.perf_counter() - started
            outcome = Outcome(job, None, before, after, seconds, picture.is_complete)
            writing = (outcome, writer.submit(write, pending, job, picture))
        if writing is not None:
            yield written(*writing)


def _is_short_of_memory(picture: Picture, upscaler: Upscaler, size: Size) -> bool:
    """Return True if a result does not fit into memory beside the one that is being written."""
    if picture.width * picture.height < _SMALL_PIXELS:
        return False
    try:
        return memory_shortage(picture, upscaler, size) is not None
    except SizeError:  # which the next step raises
        return False


class _Source(NamedTuple):
    """A source as it was read, and its upscaler; `skipped` says why it was not read."""

    picture: Picture | None = None
    upscaler: Upscaler | None = None
    pending: PendingFile | None = None
    skipped: str = ""


def settings_of(
    format: ImageFormat, identity: Mapping[str, str], size: Size, quality: int, mask: MaskFile | None = None
) -> dict[str, str]:
    """Return everything that decides a result in a format, by name."""
    settings = {**identity, "size": str(size) or "model scale", "format": format.value}
    settings |= {} if mask is None else {"mask": mask.hash}
    return settings | ({"quality": str(quality)} if format in _WITH_QUALITY else {})


def refuse_dangling_link(source: Path) -> None:
    """Raise ImageFileError for a link that leads nowhere."""
    if source.is_symlink() and not os.path.exists(source):
        raise ImageFileError(f"{source} is a link to {os.readlink(source)}, which cannot be reached.")


class Callbacks:
    """Tell exceptions of the caller's callbacks, which end the work, from those of a file, which do not."""

    def __init__(self) -> None:
        self._raised: BaseException | None = None

    def watch(self, callback: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """Return a callback that does the same, and whose exceptions are known to `ended_by`."""
        if callback is None:
            return None

        def watched(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except BaseException as error:
                self._raised = error
                raise

        return watched

    def ended_by(self, error: Exception) -> bool:
        """Return True if the caller has ended the work by this exception."""
        return isinstance(error, Cancelled) or error is self._raised
