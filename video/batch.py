"""Upscale many videos one after another; a failure does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..images.io.errors import ImageFileError
from ..images.jobs import FileJob
from ..images.size import SizeError
from ..inference.errors import UpscaleError
from .errors import VideoError
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
        An outcome per job. VideoError, ImageFileError, SizeError and UpscaleError become outcomes; other exceptions,
        such as Cancelled, are raised.
    """
    for job in jobs:
        try:
            yield VideoOutcome(job, upscale_video(job.source, job.target, upscaler, **options))
        except (VideoError, ImageFileError, SizeError, UpscaleError) as error:
            yield VideoOutcome(job, error=error)
