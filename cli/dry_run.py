"""`supertile upscale --dry-run`: say what would be done, how long it would take and how large it would be."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from ..errors import SupertileError
from ..images.words import bytes_in_words, estimate_in_words
from .console import FAILED, error_sentence, say, show_traceback
from .events import print_event

if TYPE_CHECKING:
    from ..images.batch import Outcome
    from ..images.estimate import ImagesEstimate
    from ..images.jobs import FileJob
    from ..inference.upscaler import Upscaler
    from ..video.estimate import PlannedVideo, VideoEstimate


class DryRun:
    """The plan of one run, printed as far as it is known.

    Args:
        console: for errors and the summary.
        bars: on the same console.
        total: number of files.
        quiet: print errors only.
        debug: show the tracebacks of errors.
        events: print the plan as JSON on standard output.
    """

    def __init__(
        self,
        console: Console,
        bars: Progress,
        total: int,
        *,
        quiet: bool,
        debug: bool,
        events: bool,
    ) -> None:
        self._console, self._bars, self._total = console, bars, total
        self._quiet, self._debug, self._has_events = quiet, debug, events
        self._images = self._videos = self._failed = 0
        self._skipped: Counter[str] = Counter()
        self._seconds: list[float | None] = []
        self._bytes: list[int | None] = []

    def add_images(
        self, jobs: Sequence[FileJob], upscaler: Upscaler, *, size: Any, quality: int, devices: int, **options: Any
    ) -> None:
        """Estimate images and print how many there are. Raises the error of a single file."""
        from ..images.estimate import estimate_image_files, preview_image_files

        if not jobs:
            return
        task = self._bars.add_task("reading sizes", total=len(jobs))
        outcomes = []
        for outcome in preview_image_files(jobs, upscaler, size=size, quality=quality, **options):
            outcomes.append(outcome)
            self._bars.advance(task)
            self._add_if_not_done(outcome)
        self._bars.update(task, description="computing a few images", total=None)
        estimate = estimate_image_files(
            outcomes, upscaler, size=size, quality=quality, devices=devices, mask=options.get("mask")
        )
        self._bars.remove_task(task)
        for outcome in estimate.failures:
            self._add_if_not_done(outcome)
        if not estimate.images:
            return
        self._images += estimate.images
        self._add(estimate.seconds, estimate.bytes)
        if self._has_events:
            print_event("estimate", **_image_facts(estimate))
        elif not self._quiet:
            typer.echo(_images_line(estimate, outcomes))

    def add_videos(self, jobs: Sequence[FileJob], upscaler: Upscaler, **options: Any) -> None:
        """Estimate videos and print a line for each. Raises the error of a single file."""
        from ..video.estimate import estimate_video_files

        task = self._bars.add_task("computing a few frames", total=len(jobs), visible=bool(jobs))
        for planned in estimate_video_files(jobs, upscaler, **options):
            self._bars.advance(task)
            self._add_if_not_done(planned)
            if (estimate := planned.estimate) is None:
                continue
            self._videos += 1
            self._add(estimate.seconds, estimate.bytes)
            if self._has_events:
                print_event("estimate", source=planned.job.source, target=planned.job.target, **_video_facts(estimate))
            elif not self._quiet:
                typer.echo(_video_line(planned.job, estimate))
        self._bars.remove_task(task)

    def exit(self, folder: Path) -> NoReturn:
        """Print the sum, and leave the program: with a code other than 0 if a file would fail.

        folder: whose disk must hold the results.
        """
        seconds, size = _sum(self._seconds), _sum(self._bytes)
        free = _free_bytes(folder)
        if size is not None and free is not None and size > free:
            say(
                self._console,
                f"Warning: {bytes_in_words(size)} are needed, but only {bytes_in_words(free)} are free in {folder}.",
            )
        self._print_plan_event(seconds, size, free)
        if not self._quiet and (self._total > 1 or self._skipped):
            files = self._images + self._videos
            skipped = [f"{count:,} skipped ({reason})" for reason, count in self._skipped.items()]
            failing = [f"{self._failed:,} would fail"] if self._failed else []
            parts = [f"{files:,} {'file' if files == 1 else 'files'} to do", *skipped, *failing]
            say(self._console, f"{', '.join(parts)}{_in_words(seconds, size, before='; ')}. Nothing was written.")
        elif not self._quiet:
            say(self._console, "Nothing was written.")
        raise typer.Exit(FAILED if self._failed else 0)

    def _print_plan_event(self, seconds: float | None, size: int | None, free: int | None) -> None:
        if self._has_events:
            print_event(
                "plan",
                images=self._images,
                videos=self._videos,
                skipped=self._skipped.total(),
                failed=self._failed,
                seconds=None if seconds is None else round(seconds, 3),
                bytes=size,
                bytes_free=free,
            )

    def _add(self, seconds: float | None, size: int | None) -> None:
        self._seconds.append(seconds)
        self._bytes.append(size)

    def _add_if_not_done(self, planned: Outcome | PlannedVideo) -> None:
        """Count a file that would be skipped or fail."""
        job = planned.job
        if planned.skipped:
            self._skipped[planned.skipped] += 1
            if self._has_events:
                print_event("skipped", source=job.source, target=job.target, reason=planned.skipped)
        if planned.error is None:
            return
        self._failed += 1
        sentence = error_sentence(planned.error, job.source)
        if self._has_events:
            print_event("failed", source=job.source, target=job.target, message=sentence)
        if self._total == 1 and (self._debug or isinstance(planned.error, SupertileError)):
            self._print_plan_event(None, None, None)
            raise planned.error
        if self._debug and not isinstance(planned.error, SupertileError):
            show_traceback(self._console, planned.error)
        say(self._console, sentence)


def _images_line(estimate: ImagesEstimate, outcomes: Sequence[Outcome]) -> str:
    growth = f"{_megapixels(estimate.source_pixels)} -> {_megapixels(estimate.target_pixels)}"
    about = _in_words(estimate.seconds, estimate.bytes, before="; ")
    if estimate.images > 1:
        return f"{estimate.images:,} images, {growth}{about} (from {estimate.computed} of them)"
    [one] = [each for each in outcomes if each.error is None and not each.skipped]
    return f"{one.job.source} {_shape(one.source_size)} -> {one.job.target} {_shape(one.target_size)}{about}"


def _video_line(job: FileJob, estimate: VideoEstimate) -> str:
    frames = "an unknown number of frames" if estimate.frames is None else f"{estimate.frames:,} frames"
    parts = ""
    if estimate.parts > 1:
        done = (
            f", {estimate.parts_done:,} of them done ({estimate.frames_done:,} frames)" if estimate.parts_done else ""
        )
        parts = f" in {estimate.parts:,} parts{done}"
    about = _in_words(estimate.seconds, estimate.bytes, before="; ")
    return (
        f"{job.source} {_shape(estimate.source_size)} -> {job.target} {_shape(estimate.target_size)}: {frames}{parts}, "
        f"{estimate.encoder} in {estimate.pixel_format}{about} (from {estimate.sample.frames} frames)"
    )


def _image_facts(estimate: ImagesEstimate) -> dict[str, Any]:
    return {
        "source": None,
        "target": None,
        "images": estimate.images,
        "source_pixels": estimate.source_pixels,
        "target_pixels": estimate.target_pixels,
        "seconds": None if estimate.seconds is None else round(estimate.seconds, 3),
        "bytes": estimate.bytes,
        "computed": estimate.computed,
    }


def _video_facts(estimate: VideoEstimate) -> dict[str, Any]:
    names = ("source_size", "target_size", "encoder", "pixel_format", "frames", "parts", "parts_done", "frames_done")
    return {
        **{name: getattr(estimate, name) for name in names},
        "seconds": None if estimate.seconds is None else round(estimate.seconds, 3),
        "bytes": estimate.bytes,
        "computed": estimate.sample.frames,
    }


def _in_words(seconds: float | None, size: int | None, *, before: str) -> str:
    words = estimate_in_words(seconds, size)
    return before + words if words else ""


def _sum(values: Sequence[Any]) -> Any:
    """Return the sum of values; None if one is unknown, or there are none."""
    return None if not values or None in values else sum(values)


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:,.1f} MP"


def _shape(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the disk that a folder, which need not exist yet, would be on."""
    for existing in (folder, *folder.absolute().parents):
        if existing.is_dir():
            try:
                return shutil.disk_usage(existing).free
            except OSError:
                return None
    return None
