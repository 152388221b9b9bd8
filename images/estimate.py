"""Estimate how long many images would take and how large they would be, from a few of them; nothing is kept."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .batch import Outcome, refuse_dangling_link, settings_of, upscale_image_files
from .io.atomic import check_target
from .io.dimensions import image_size
from .io.formats import ImageFormat, format_of
from .jobs import FileJob
from .journal import Journal, reason_to_skip
from .mask_file import MaskFile
from .size import Size, runs_of_the_model

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

SAMPLE_SECONDS = 15.0
"""About how long a few images are computed for an estimate, once the first is done."""
_MAX_IMAGES = 12


@dataclass(frozen=True)
class ImagesEstimate:
    """The images that a run would compute.

    Attributes:
        images: their number.
        source_pixels, target_pixels: of all of them.
        seconds: estimated time of the run, with reading and writing, without loading the model. None if no image
            could be computed.
        bytes: estimated size of all results, or None.
        computed: how many images the estimate was made from.
        failures: outcomes of images that failed while the estimate was made; they are not counted above.
    """

    images: int
    source_pixels: int
    target_pixels: int
    seconds: float | None
    bytes: int | None
    computed: int
    failures: tuple[Outcome, ...] = ()


def preview_image_files(
    jobs: Iterable[FileJob],
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    skip_existing: bool = False,
    journal: Journal | None = None,
    mask: str | Path | None = None,
) -> Iterator[Outcome]:
    """Yield the outcome of each job as far as it can be known without computing or writing anything.

    Only the headers of the images are read, so damage of the pixels and a lack of memory are not foreseen. Times are 0.

    Args:
        jobs, upscaler, size, quality, overwrite, skip_existing, journal, mask: as `upscale_image_files` takes them.
    """
    size = Size.coerce(size)
    jobs = list(jobs)
    mask_file = MaskFile.at(mask)
    identity = upscaler.identity() if jobs and journal is not None else {}
    for job in jobs:
        try:
            refuse_dangling_link(job.source)
            settings = settings_of(format_of(job.target, job.format), identity, size, quality, mask_file)
            skipped = reason_to_skip(job, journal, settings, skip_existing=skip_existing, overwrite=overwrite)
            if skipped:
                yield Outcome(job, skipped=skipped)
                continue
            check_target(job.target, overwrite=overwrite, sources=[job.source])
            before = image_size(job.source)
            framing = size.framing(*before, upscaler.scale)
            format_of(job.target, job.format).check_size(job.target, *framing.size)
            list(runs_of_the_model(*before, framing.scaled, upscaler.scale))
        except Exception as error:
            yield Outcome(job, error)
            continue
        yield Outcome(job, source_size=before, target_size=framing.size)


def estimate_image_files(
    outcomes: Sequence[Outcome],
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    quality: int = 95,
    mask: str | Path | None = None,
    devices: int = 1,
    seconds: float = SAMPLE_SECONDS,
) -> ImagesEstimate:
    """Compute a few images into a temporary folder and estimate all of them.

    Args:
        outcomes: of `preview_image_files`; those that are skipped or failed are left out.
        upscaler, size, quality, mask: as for these.
        devices: number of devices that share the images, each as fast as the upscaler's.
        seconds: about how long to compute, once the first image is done.
    """
    pending = [outcome for outcome in outcomes if outcome.error is None and not outcome.skipped]
    sample = _Sample(upscaler, size, quality, mask)
    order = _spread(pending)
    if order:
        sample.compute(order[:1])
        count = int(seconds / max(sample.seconds, 1e-3))
        if rest := order[1 : 1 + min(count, _MAX_IMAGES)]:
            warm = sample
            sample = _Sample(upscaler, size, quality, mask)
            sample.compute(rest)
            sample.adopt(warm)
    failed = {outcome.job.source for outcome in sample.failures}
    counted = [outcome for outcome in pending if outcome.job.source not in failed]
    work = sum(sample.work_of(outcome) for outcome in counted) / max(1, min(devices, len(counted)))
    return ImagesEstimate(
        images=len(counted),
        source_pixels=sum(_pixels(outcome.source_size) for outcome in counted),
        target_pixels=sum(_pixels(outcome.target_size) for outcome in counted),
        seconds=sample.warm_up_seconds + work * sample.seconds / sample.work if sample.work else None,
        bytes=round(sum(map(sample.bytes_of, counted))) if sample.results else None,
        computed=len(sample.results),
        failures=tuple(sample.failures),
    )


class _Sample:
    """Images that were computed for an estimate."""

    def __init__(self, upscaler: Upscaler, size: Size | str | None, quality: int, mask: str | Path | None) -> None:
        self._upscaler, self._size, self._quality, self._mask = upscaler, Size.coerce(size), quality, mask
        self.seconds = self.warm_up_seconds = 0.0
        self.work = 0
        self.results: list[tuple[Outcome, int]] = []  # with the bytes of the results
        self.failures: list[Outcome] = []

    def compute(self, outcomes: Sequence[Outcome]) -> None:
        """Upscale images as the run will, with reading and writing beside the network."""
        started = time.perf_counter()
        with TemporaryDirectory(prefix="supertile-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself will warn
            jobs = [
                replace(outcome.job, target=Path(folder) / f"{number}{outcome.job.target.suffix}")
                for number, outcome in enumerate(outcomes)
            ]
            made = upscale_image_files(jobs, self._upscaler, size=self._size, quality=self._quality, mask=self._mask)
            for before, job, after in zip(outcomes, jobs, made, strict=True):
                if after.error is not None:
                    self.failures.append(replace(before, error=after.error))
                else:
                    self.work += self.work_of(before)
                    self.results.append((before, job.target.stat().st_size))
        self.seconds = time.perf_counter() - started

    def adopt(self, first: _Sample) -> None:
        """Add the image that was computed first. Its time is that of a cold start, so only its surplus counts."""
        if not self.work:
            self.work, self.seconds = first.work, first.seconds
        else:
            self.warm_up_seconds = max(0.0, first.seconds - first.work * self.seconds / self.work)
        self.results += first.results
        self.failures += first.failures

    def work_of(self, outcome: Outcome) -> int:
        """Return the pixels that go through the network."""
        scale = self._upscaler.scale
        scaled = self._size.framing(*outcome.source_size, scale).scaled
        return sum(width * height for width, height in runs_of_the_model(*outcome.source_size, scaled, scale))

    def bytes_of(self, outcome: Outcome) -> float:
        """Estimate the size of a result by the sources, which are as detailed, of the same kind and format."""
        alike = [each for each in self.results if _kind(each[0]) == _kind(outcome)]
        alike = alike or [each for each in self.results if _kind(each[0])[1] == _kind(outcome)[1]] or self.results
        weight = sum(_detail(each) for each, _ in alike)
        return _detail(outcome) * sum(size for _, size in alike) / weight if weight else 0.0


def _spread(pending: Sequence[Outcome]) -> list[Outcome]:
    """Return the images in the order in which they are computed: of middle size first, then all kinds and sizes."""
    kinds: dict[tuple[str, ImageFormat], list[Outcome]] = {}
    for outcome in sorted(pending, key=lambda each: _pixels(each.source_size)):
        kinds.setdefault(_kind(outcome), []).append(outcome)
    queues = sorted((list(_middles(kind)) for kind in kinds.values()), key=len, reverse=True)
    return [queue[place] for place in range(_MAX_IMAGES + 1) for queue in queues if place < len(queue)]


def _middles(outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """Yield the middle one, then the middles of both halves, and so on, as far as a sample needs."""
    intervals = [(0, len(outcomes))]
    for _ in range(min(len(outcomes), _MAX_IMAGES + 1)):
        start, stop = intervals.pop(0)
        middle = (start + stop) // 2
        yield outcomes[middle]
        intervals += [each for each in ((start, middle), (middle + 1, stop)) if each[0] < each[1]]


def _kind(outcome: Outcome) -> tuple[str, ImageFormat]:
    return outcome.job.source.suffix.lower(), format_of(outcome.job.target, outcome.job.format)


def _detail(outcome: Outcome) -> float:
    """Return the bytes of a source, times as many as its pixels become."""
    growth = _pixels(outcome.target_size) / max(1, _pixels(outcome.source_size))
    try:
        return outcome.job.source.stat().st_size * growth
    except OSError:
        return 0.0


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]
