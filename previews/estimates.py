"""Estimate time and size of the whole job: by a sample of it where that is soon done, else from the crops."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..images.estimate import SAMPLE_SECONDS, estimate_image_files, preview_image_files
from ..images.io.files import write_image
from ..images.io.picture import Picture
from ..images.jobs import FileJob
from ..images.size import Size
from ..images.words import estimate_in_words
from ..video.estimate import estimate_video
from ..video.frames import Span
from ..video.read.open import SourceOptions
from .places import place_at
from .views import ImageView, Planes, bicubic

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_FRAMES_COMPUTED = 2
"""`estimate_video` computes two batches of frames at least, however long they take."""
_GRID = 4  # by as many stand-ins, spread over the image, the size of a result is estimated
_STAND_IN_SIDE = 96  # pixels of the source


@dataclass(frozen=True)
class JobEstimate:
    """The whole job with one model.

    Attributes:
        seconds: about how long it takes, without loading the model; None if the number of frames is unknown.
        bytes: about how large the result is; None if that is unknown.
        problem: why the job would fail, as a sentence; else "".
    """

    seconds: float | None = None
    bytes: int | None = None
    problem: str = ""

    def __str__(self) -> str:
        return self.problem or estimate_in_words(self.seconds, self.bytes)


@dataclass(frozen=True)
class Pace:
    """How fast the crops of one model were computed.

    seconds_per_pixel: time of a pixel that goes through the network, measured warm where there are several crops.
    work: pixels that go through the network for the whole image, or for a frame.
    """

    seconds_per_pixel: float
    work: int

    @property
    def seconds(self) -> float:
        """Time of the whole image, or of a frame."""
        return self.seconds_per_pixel * self.work


def estimate_image_job(
    job: FileJob, view: ImageView, upscaler: Upscaler, size: Size, pace: Pace, crops: list[tuple[Planes, Planes]]
) -> JobEstimate:
    """Estimate the job of one image.

    Args:
        job: as `upscale` would do it, with its default quality.
        view, upscaler, size: of the job.
        pace: of the crops.
        crops: bicubic and result of each.

    Raises:
        SupertileError: the job would fail.
    """
    [outcome] = preview_image_files([job], upscaler, size=size, overwrite=True)
    if outcome.error is not None:
        raise outcome.error
    if pace.seconds <= SAMPLE_SECONDS:
        estimate = estimate_image_files([outcome], upscaler, size=size)
        for failure in estimate.failures:
            if failure.error is not None:
                raise failure.error
        return JobEstimate(estimate.seconds, estimate.bytes)
    target = outcome.target_size
    with TemporaryDirectory(prefix="supertile-") as folder:
        encoder = _Encoder(Path(folder), job, view.picture)
        bicubic_bytes, results_bytes = (sum(encoder.bytes_of(pair[side]) for pair in crops) for side in (0, 1))
        stand_ins = _Encoder(Path(folder), job, view.picture)
        width, height = view.size
        for row in range(_GRID):
            for column in range(_GRID):
                center = (2 * column + 1) * width // (2 * _GRID), (2 * row + 1) * height // (2 * _GRID)
                stand_ins.bytes_of(bicubic(view, place_at(center, _STAND_IN_SIDE, (width, height)), target))
    growth = results_bytes / max(1, bicubic_bytes)
    share = target[0] * target[1] / max(1, stand_ins.pixels)
    return JobEstimate(pace.seconds + share * stand_ins.seconds, round(share * stand_ins.bytes * growth))


def estimate_video_job(
    job: FileJob,
    upscaler: Upscaler,
    size: Size,
    pace: Pace,
    frames: int | None,
    *,
    span: Span,
    source_options: SourceOptions,
) -> JobEstimate:
    """Estimate the job of a video, an animation or numbered images.

    Args:
        job: as `upscale` would do it, with its default codec and quality.
        upscaler, size, span, source_options: of the job.
        pace: of the crops.
        frames: number of frames, if the source tells.

    Raises:
        SupertileError: the job would fail.
    """
    if _FRAMES_COMPUTED * pace.seconds > SAMPLE_SECONDS:
        return JobEstimate(None if frames is None else frames * pace.seconds)
    estimate = estimate_video(
        job.source, job.target, upscaler, size=size, span=span, source_options=source_options, overwrite=True
    )  # fmt: skip
    return JobEstimate(estimate.seconds, estimate.bytes)


class _Encoder:
    """Encodes crops as the job encodes its result, and adds up bytes, pixels and seconds."""

    def __init__(self, folder: Path, job: FileJob, like: Picture) -> None:
        self._path, self._format, self._bit_depth = folder / f"crop{job.target.suffix}", job.format, like.bit_depth
        self.bytes = self.pixels = 0
        self.seconds = 0.0

    def bytes_of(self, planes: Planes) -> int:
        color, alpha = planes
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the job itself will warn
            write_image(self._path, Picture(color, alpha, self._bit_depth), format=self._format, overwrite=True)
        size = self._path.stat().st_size
        self.seconds += time.perf_counter() - started
        self.bytes += size
        self.pixels += math.prod(color.shape[-2:])
        return size
