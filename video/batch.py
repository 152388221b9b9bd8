"""Upscale many videos one after another; a failure does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..images.batch import Callbacks, refuse_dangling_link
from ..images.jobs import FileJob
from .report import VideoReport
from .upscale import upscale_video

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


@dataclass(frozen=True)
class VideoOutcome:
    """Result of a job: a report, or the error it failed with."""

    job: FileJob
    report: VideoReport | None = None
    error: Exception | None = None


def upscale_video_files(jobs: Iterable[FileJob], upscaler: Upscaler, **options: Any) -> Iterator[VideoOutcome]:
    """Upscale videos in order and yield the outcome of each.

    Args:
        jobs: sources and targets.
        upscaler: used for all of them.
        **options: as `upscale_video` takes them.

    Yields:
        An outcome per job. Every Exception that a video causes becomes its outcome; Cancelled, and what the callbacks
        raise, is raised.
    """
    callbacks = Callbacks()
    for name in {"progress", "cancelled", "warn"} & options.keys():
        options[name] = callbacks.watch(options[name])
    for job in jobs:
        try:
            refuse_dangling_link(job.source)
            outcome = VideoOutcome(job, upscale_video(job.source, job.target, upscaler, **options))
        except Exception as error:
            if callbacks.ended_by(error):
                raise
            outcome = VideoOutcome(job, error=error)
        yield outcome
