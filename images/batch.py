"""Upscale many image files, one after the other: `upscale_image_files`.

While one image is in the network, the next is read and the one before is written, so at most three are in memory. A
file that fails does not stop the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.errors import Cancelled
from .io.errors import ImageFileError
from .io.picture import Picture
from .jobs import FileJob
from .size import Size, SizeError
from .upscale import memory_shortage, read_source, upscale_image, write_result

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_SMALL_PIXELS = 1 << 18
"""Smaller sources do not wait for memory."""


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
    """

    job: FileJob
    error: Exception | None = None
    source_size: tuple[int, int] = (0, 0)
    target_size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    complete: bool = True


def upscale_image_files(
    jobs: Iterable[FileJob],
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Do the jobs in order and yield an Outcome for each; by then its file is complete on disk.

    Args:
        jobs: as `plan_jobs` returns them.
        upscaler: the model.
        size: of each result, see `Size.parse`; None is the model's own scale.
        quality: 1 to 100, for JPEG and WebP.
        overwrite: replace targets that exist. Sources are never replaced.
        progress: called with the tiles done and the tiles known so far, for each run of the model.
        cancelled: called before each batch of tiles; if it returns True, Cancelled is raised.

    Every Exception that a file causes becomes its outcome. Cancelled, and what the callbacks raise, is raised after the
    file being written is finished.
    """
    size = Size.coerce(size)
    callbacks = Callbacks()
    progress, cancelled = callbacks.watch(progress), callbacks.watch(cancelled)
    queue = iter(jobs)

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def read_next() -> tuple[FileJob, Future[Picture]] | None:
            job = next(queue, None)
            if job is None:
                return None
            return job, reader.submit(_read, job, upscaler, size, overwrite=overwrite)

        reading = read_next()
        writing: tuple[Outcome, Future[None]] | None = None
        while reading is not None:
            job, future = reading
            picture = error = None
            try:
                picture = future.result()
            except Exception as caught:
                error = caught
            del future
            reading = read_next()
            if writing is not None and picture is not None and _is_short_of_memory(picture, upscaler, size):
                yield _written(*writing)
                writing = None
            started = time.perf_counter()
            if picture is not None:
                before = (picture.width, picture.height)
                try:
                    picture = upscale_image(picture, upscaler, size=size, progress=progress, cancelled=cancelled)
                except Exception as caught:
                    if callbacks.ended_by(caught):
                        raise
                    error = caught
            if writing is not None:
                yield _written(*writing)
                writing = None
            if error is not None or picture is None:
                yield Outcome(job, error)
                continue
            after, seconds = (picture.width, picture.height), time.perf_counter() - started
            outcome = Outcome(job, None, before, after, seconds, picture.is_complete)
            writing = (outcome, writer.submit(write_result, job, picture, quality=quality, overwrite=overwrite))
        if writing is not None:
            yield _written(*writing)


def _is_short_of_memory(picture: Picture, upscaler: Upscaler, size: Size) -> bool:
    """Return True if a result does not fit into memory beside the one that is being written."""
    if picture.width * picture.height < _SMALL_PIXELS:
        return False
    try:
        return memory_shortage(picture, upscaler, size) is not None
    except SizeError:  # which the next step raises
        return False


def _written(outcome: Outcome, future: Future[None]) -> Outcome:
    try:
        future.result()
    except Exception as error:
        return Outcome(outcome.job, error)
    return outcome


def _read(job: FileJob, upscaler: Upscaler, size: Size, *, overwrite: bool) -> Picture:
    refuse_dangling_link(job.source)
    return read_source(job, upscaler, size, overwrite=overwrite)


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
