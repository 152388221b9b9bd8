"""Upscale many videos one after another; a failure does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images.batch import Callbacks, refuse_dangling_link
from ..images.choice import Identities, UpscalerChoice, upscaler_for
from ..images.io.atomic import remove_stale_parts
from ..images.jobs import FileJob
from ..images.journal import Journal, pending_file, reason_to_skip, recording
from ..images.size import Size
from .errors import VideoError
from .frames import Span
from .parts.folder import JOBS, remove_stale_jobs
from .read.open import SourceOptions
from .report import VideoReport
from .upscale import upscale_video
from .write.encoder_options import EncoderOptions

if TYPE_CHECKING:
    from ..inference.cluster.pool import RayPool
    from ..inference.pool import UpscalerPool
    from ..inference.upscaler import Upscaler


_WITHOUT_EFFECT = {"progress", "cancelled", "warn", "inform", "overwrite", "reuse_static", "job", "pool"}  # on results


@dataclass(frozen=True)
class VideoOutcome:
    """Result of a job: a report, or the error it failed with, or why it was skipped (as in `images.batch.Outcome`)."""

    job: FileJob
    report: VideoReport | None = None
    error: Exception | None = None
    skipped: str = ""


def upscale_video_files(
    jobs: Iterable[FileJob],
    upscaler: Upscaler | UpscalerChoice,
    *,
    pool_of: Callable[[Path], UpscalerPool | RayPool | None] = lambda source: None,
    skip_existing: bool = False,
    journal: Journal | None = None,
    **options: Any,
) -> Iterator[VideoOutcome]:
    """Upscale videos in order and yield the outcome of each.

    Args:
        jobs: sources and targets.
        upscaler: used for all of them, or a choice between two by the source.
        pool_of: returns the `pool` that shares the settings of a source's upscaler.
        skip_existing: skip targets that exist, unless `journal` knows that they were made otherwise.
        journal: of the target folder. Videos that it proves to be made by these jobs are skipped, without being opened,
            unless `overwrite` is True; finished ones are recorded in it.
        **options: as `upscale_video` takes them.

    Yields:
        An outcome per job. Every Exception that a video causes becomes its outcome; Cancelled, and what the callbacks
        raise, is raised.
    """
    callbacks = Callbacks()
    for name in {"progress", "cancelled", "warn"} & options.keys():
        options[name] = callbacks.watch(options[name])
    identities, option_settings = Identities(upscaler), video_settings(options)
    overwrite = options.get("overwrite", False)
    for job in jobs:
        try:
            refuse_dangling_link(job.source)
            settings = {} if journal is None else {**identities.of(job.source), **option_settings}
            skipped = reason_to_skip(
                job, journal, settings, skip_existing=skip_existing, overwrite=overwrite, error=VideoError
            )
            if skipped:
                outcome = VideoOutcome(job, skipped=skipped)
            else:
                pool, own = pool_of(job.source), upscaler_for(job.source, upscaler)
                with recording(journal, pending_file(job, settings)):
                    outcome = VideoOutcome(job, upscale_video(job.source, job.target, own, pool=pool, **options))
        except Exception as error:
            if callbacks.ended_by(error):
                raise
            outcome = VideoOutcome(job, error=error)
        yield outcome


def video_settings(options: Mapping[str, Any]) -> dict[str, str]:
    """Return every option of `upscale_video` that decides the result, by name."""
    values: dict[str, Any] = {}
    for value in (EncoderOptions(), Span(), SourceOptions()):
        values |= vars(value)
    for name, value in options.items():
        if name in _WITHOUT_EFFECT:
            continue
        if name == "size":
            values[name] = str(Size.coerce(value)) or "model scale"
        elif is_dataclass(value):
            values |= vars(value)
        else:
            values[name] = value
    values.setdefault("size", "model scale")
    return {name.replace("_", " "): str(value) for name, value in values.items() if value is not None}


def remove_leftovers(jobs: Iterable[FileJob]) -> None:
    """Delete the unfinished files that killed processes have left where these jobs write images and videos."""
    for folder in {job.target.parent for job in jobs}:
        remove_stale_parts(folder)
        remove_stale_jobs(folder / JOBS)
