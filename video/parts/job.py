"""A job in parts: plan it, compute what is not done, join it; go on where an interrupted run has stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from ...inference.pool import Event
from ..errors import NoFrameError, VideoError
from ..frames import FrameSource, ReadReport, VideoInfo
from ..pipeline import STAGES, StageTimes
from ..read.scan import packet_times
from ..report import VideoProgress, VideoReport
from ..transcode import transcode
from ..write.encoders import Encoding
from .check import check_frames
from .folder import JobFolder, PartRecord, changes
from .plan import PART_SECONDS, Part, contiguous, plan_parts
from .publish import join_partial, join_parts
from .task import VideoTask
from .worker import PartTask, compute_part, first_frame
from .writer import PartsWriter

if TYPE_CHECKING:
    from torch import Tensor

    from ...inference.cluster.pool import RayPool
    from ...inference.pool import UpscalerPool
    from ...inference.upscaler import Upscaler

_log = logging.getLogger(__name__)
MAX_DEVICE_DIFFERENCE = 16
"""Largest difference of a sample, of 255, that rounding in half precision explains."""


@dataclass(frozen=True)
class JobOptions:
    """How a long video is cut into parts that survive an interruption.

    Attributes:
        part_seconds: least duration of a part, in seconds of the video. Videos shorter than two parts stay in one
            piece. 0: any video does, and an interruption loses all of it.
        restart: begin anew, whatever an interrupted run has left.
        keep_partial: when the run is interrupted, join the parts that are done into NAME.partial.SUFFIX.
        folder: keeps the parts, and the records of finished files; None: `.supertile-jobs` beside the target.
        numbered: the caller numbers its targets, so that their names mean nothing. Interrupted jobs of other sources
            are left alone, whatever their target. And a job that differs from a finished one in nothing but its name
            is not computed: its target becomes a hard link, or a copy, of the finished file.
    """

    part_seconds: float = PART_SECONDS
    restart: bool = False
    keep_partial: bool = False
    folder: Path | None = None
    numbered: bool = False


def plan_job(task: VideoTask, info: VideoInfo, encoding: Encoding, seconds: float) -> list[Part]:
    """Return the parts of a task; none if it is to stay in one piece."""
    drops_alpha = encoding.encoder == "libvpx-vp9" and encoding.frames.layout.alpha  # NUT has no place for it
    if not seconds or drops_alpha or info.stream_index is None:
        return []
    if info.duration is not None and info.duration * info.time_base < 2 * seconds:
        return []
    times = packet_times(task.source, task.source_options.stream)
    if times is None:
        return []
    stop = None
    if task.span.end is not None:
        stop = int(-((-(task.span.end + info.origin)) // info.time_base))
    parts = plan_parts(times, info.time_base, info.start_pts, stop, seconds=seconds)
    return parts if len(parts) > 1 else []


class PartsJob:
    """A job in parts, from its plan to its file.

    Args:
        task: what is to be made.
        info: of the source.
        parts: as `plan_job` returned them.
        upscaler: the model.
        metadata: further tags of the file.
        overwrite: replace the target if it exists.
        options: see `JobOptions`.
        pool: devices that compute the parts instead of the upscaler.
        inform: called with sentences about what is done already.
    """

    def __init__(
        self,
        task: VideoTask,
        info: VideoInfo,
        parts: Sequence[Part],
        upscaler: Upscaler,
        *,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        options: JobOptions = JobOptions(),
        pool: UpscalerPool | RayPool | None = None,
        inform: Callable[[str], None] = _log.info,
    ) -> None:
        self._task, self._info, self._upscaler, self._pool = task, info, upscaler, pool
        self._metadata, self._overwrite, self._options, self._inform = metadata, overwrite, options, inform
        self._encoding = task.encoding(info)
        self._identity = task.identity(upscaler.identity(), self._encoding)
        self.folder = JobFolder.create(task.target, self._identity, parts, task.settings(metadata), options.folder)
        self._frames_before = self._bytes = 0
        self._expected = sum(part.expected for part in parts)
        self._work = _Work()
        self._done: set[int] = set()

    def begin(self) -> None:
        """Take over what an interrupted run has left. Raises VideoError."""
        task, earlier = self._task, self._earlier()
        if self._options.restart:
            for folder in earlier:
                folder.delete()
            earlier = []
        self.folder.begin()
        for part, record in self.folder.done():
            self._done.add(part.index)
            self._frames_before += record.frames
        others = [folder for folder in earlier if folder.path != self.folder.path]
        if self._done:
            self._say_where(self.folder.parts)
        elif others:
            names = changes(others[0].job["identity"], self._identity) or ["the bounds of the parts"]
            self._inform(f"{task.target} is started anew, because {_listed(names)} changed since the interrupted run.")

    def _say_where(self, parts: Sequence[Part]) -> None:
        first = next((part for part in parts if part.index not in self._done), None)
        where = "" if first is None else f" at {_clock(first.start * self._info.time_base - self._info.origin)}"
        self._inform(
            f"Continuing {self._task.target}{where}: {len(self._done)} of {len(parts)} parts are done "
            f"({self._frames_before} frames)."
        )

    def run(
        self,
        frames: FrameSource,
        *,
        progress: Callable[[VideoProgress], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = _log.warning,
    ) -> VideoReport:
        """Compute the parts that are not done, and join all of them.

        Args:
            frames: the opened source, at the first frame of the job.
            progress, cancelled, warn: as `upscale_video` takes them.

        Raises:
            VideoError, UpscaleError, Cancelled: as `upscale_video`. The parts that are done stay.
        """
        try:
            self.begin()
            if self._pool is None:
                self._compute(frames, progress, cancelled, warn)
            else:
                self._compute_with(self._pool, progress, cancelled, warn)
            check_frames(self.folder)
            report = self._report()
            join_parts(
                self.folder,
                self._task,
                self._info,
                self.folder.parts,
                metadata=self._metadata,
                overwrite=self._overwrite,
                cancelled=cancelled,
            )
        except BaseException:
            self._leave()
            raise
        self.folder.delete()
        for folder in self._earlier():
            folder.delete()
        return report

    def _earlier(self) -> list[JobFolder]:
        """Return the unfinished jobs that this one supersedes."""
        jobs = JobFolder.find(self._task.target, self._options.folder)
        if self._options.numbered:
            source = os.path.abspath(self._task.source)
            jobs = [folder for folder in jobs if folder.job.get("settings", {}).get("source") == source]
        return jobs

    def _compute(
        self,
        frames: FrameSource,
        progress: Callable[[VideoProgress], None] | None,
        cancelled: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        """Compute what is pending in this process, as few passes over the source as possible."""
        for run in contiguous(self._pending()):
            whole = len(run) == len(self.folder.parts)
            try:
                source = frames if whole else self._task.open_run(self._info, run, warn)
            except NoFrameError as error:
                for part in run:
                    self.folder.save(part, PartRecord.empty(error, str(self._upscaler.device)))
                    self._done.add(part.index)
                continue
            writer = PartsWriter(
                self.folder,
                run,
                self._info,
                self._encoding,
                sample_aspect_ratio=self._task.aspect_ratio(self._info),
                read=source.report,
                device=str(self._upscaler.device),
                finished=self._note,
            )
            before, seconds = self._work.frames, self._work.seconds

            def forward(state: VideoProgress, before: int = before, seconds: float = seconds) -> None:
                done = before + state.frames
                self._tell(progress, done, seconds + state.seconds, state.bytes_written, state.thumbnail)

            try:
                report = transcode(
                    source,
                    writer,
                    self._upscaler,
                    str(self._task.target),
                    reuse_static=self._task.reuse_static,
                    progress=forward,
                    cancelled=cancelled,
                    warn=warn,
                )
            except BaseException:
                writer.discard()
                raise
            finally:
                if source is not frames:
                    source.close()
            self._work.add(report, str(self._upscaler.device))

    def _compute_with(
        self,
        pool: UpscalerPool | RayPool,
        progress: Callable[[VideoProgress], None] | None,
        cancelled: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        """Let the workers of a pool compute what is pending, part by part."""
        folder = self.folder.path.absolute()  # for processes that run elsewhere
        tasks = [PartTask(folder, part.index) for part in self._pending()]
        if not tasks:
            return
        pool.check_devices(first_frame, tasks[0], self._compare, cancelled=cancelled)
        started = perf_counter()
        running: dict[int, int] = {}  # frames by part
        for event in pool.run(compute_part, tasks, cancelled=cancelled):
            index = event.task.index
            if event.kind == "report":
                running[index] = event.value
            else:
                running.pop(index, None)
            if event.kind == "failed":
                raise event.value
            if event.kind == "lost":
                warn(f"The process on {event.device} ended unexpectedly. Its part is computed again.")
            elif event.kind == "finished":
                self._done.add(index)
                self._work.frames += event.value
                self._work.by_device[event.device] = self._work.by_device.get(event.device, 0) + event.value
                self._bytes += self.folder.media(self.folder.parts[index]).stat().st_size
            self._work.seconds = perf_counter() - started
            self._tell(progress, self._work.frames + sum(running.values()), self._work.seconds, self._bytes)

    def _compare(self, first: Event[PartTask], other: Event[PartTask]) -> None:
        """Raise VideoError if two devices have computed different pixels of the same frame."""
        code = 1 << max(0, self._encoding.frames.layout.depth - 8)
        if not (first.value and other.value):  # a part without a frame
            return
        pairs = zip(first.value, other.value, strict=True)
        largest = max(float(np.abs(a.astype(np.int32) - b.astype(np.int32)).max()) for a, b in pairs) / code
        if largest > MAX_DEVICE_DIFFERENCE:
            raise VideoError(
                f"{other.device} and {first.device} compute different pixels (by up to {largest:.0f} of 255). "
                "One of them is broken; leave it out."
            )

    def _pending(self) -> list[Part]:
        return [part for part in self.folder.parts if part.index not in self._done]

    def _tell(
        self,
        progress: Callable[[VideoProgress], None] | None,
        frames: int,
        seconds: float,
        written: int,
        thumbnail: Callable[[int], Tensor] | None = None,
    ) -> None:
        if progress is not None:
            done = self._frames_before + frames
            expected = max(self._expected, done)
            progress(VideoProgress(done, expected, seconds, written, self._frames_before, thumbnail))

    def _note(self, part: Part, record: PartRecord) -> None:
        self._done.add(part.index)

    def _leave(self) -> None:
        """Let go of the job after an interruption; its folder stays if a part is done."""
        if not self.folder.has_parts:
            self.folder.delete()
            return
        if not self.folder.is_locked:  # another run works on it
            return
        self.folder.close()
        target = self._task.target
        again = f"The same command goes on from there; supertile join {target} makes a file of them."
        if self._options.numbered:
            again = "The same job goes on from there."
        self._inform(f"{len(self._done)} of {len(self.folder.parts)} parts of {target} are done and kept. {again}")
        if self._options.keep_partial:
            with suppress(VideoError):
                self._inform(f"{join_partial(self.folder)} holds the parts that are done.")

    def _report(self) -> VideoReport:
        read = ReadReport()
        first: int | None = None
        end = 0
        for _, record in self.folder.done():
            for name, count in record.damage.items():
                setattr(read, name, getattr(read, name) + count)
            if record.missing_at_end:
                read.missing_at_end = Fraction(record.missing_at_end)
            read.frames += record.frames
            if record.pts:
                first, end = min(record.pts) if first is None else first, max(end, record.end)
        work = self._work
        return VideoReport(
            source=self._info.name,
            target=str(self._task.target),
            frames=read.frames,
            source_size=(self._info.width, self._info.height),
            target_size=self._task.framing.size,
            duration=(end - (first or 0)) * self._info.time_base,
            encoder=self._encoding.encoder,
            pixel_format=self._encoding.pixel_format.name,
            times=StageTimes(work.seconds, work.busy),
            read=read,
            video_streams=self._info.video_streams,
            tiles_computed=work.tiles_computed,
            tiles_reused=work.tiles_reused,
            resumed_frames=self._frames_before,
            frames_by_device=work.by_device if self._pool else {},
        )


@dataclass
class _Work:
    """The work of this run."""

    frames: int = 0
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    tiles_computed: int = 0
    tiles_reused: int = 0
    by_device: dict[str, int] = field(default_factory=dict)

    def add(self, report: VideoReport, device: str) -> None:
        self.frames += report.frames
        self.seconds += report.times.total
        for stage, seconds in report.times.busy.items():
            self.busy[stage] += seconds
        self.tiles_computed += report.tiles_computed
        self.tiles_reused += report.tiles_reused
        self.by_device[device] = self.by_device.get(device, 0) + report.frames


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last} have" if most else f"{last} has"


def _clock(seconds: Fraction) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
