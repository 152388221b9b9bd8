"""A job in parts: plan it, compute what is not done, join it; go on where an interrupted run has stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import torch

from ... import __version__
from ...inference.errors import Cancelled
from ..errors import VideoError
from ..frames import FrameFormat, FrameSource, ReadReport, Span, VideoInfo
from ..pipeline import STAGES, StageTimes
from ..read.open import SourceOptions, open_source
from ..read.scan import packet_times
from ..report import VideoProgress, VideoReport
from ..transcode import transcode
from ..write.encoder_options import EncoderOptions
from ..write.encoders import Encoding
from ..write.file import VideoWriter
from ..write.open import choose_encoding, open_target, scaled_aspect_ratio
from .folder import JobFolder, PartRecord, changes, file_identity
from .join import join
from .plan import PART_SECONDS, Part, contiguous, plan_parts
from .writer import PartsWriter

if TYPE_CHECKING:
    from ...inference.upscaler import Upscaler

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobOptions:
    """How a long video is cut into parts that survive an interruption.

    Attributes:
        part_seconds: least duration of a part, in seconds of the video. Videos shorter than two parts stay in one
            piece. 0: any video does, and an interruption loses all of it.
        restart: begin anew, whatever an interrupted run has left.
        keep_partial: when the run is interrupted, join the parts that are done into NAME.partial.SUFFIX.
    """

    part_seconds: float = PART_SECONDS
    restart: bool = False
    keep_partial: bool = False


@dataclass(frozen=True)
class VideoTask:
    """Source, target and settings of a video: all that decides its frames, but for the upscaler."""

    source: Path
    target: Path
    width: int
    height: int
    encoder: EncoderOptions
    span: Span
    source_options: SourceOptions

    def frames(self, info: VideoInfo) -> FrameFormat:
        """Return the format of the upscaled frames."""
        return replace(info.format, width=self.width, height=self.height)

    def encoding(self, info: VideoInfo) -> Encoding:
        """Return the encoder of the frames. Raises VideoError."""
        return choose_encoding(self.target, info, self.frames(info), self.encoder, warn=lambda _: None)[1]

    def aspect_ratio(self, info: VideoInfo) -> Fraction:
        """Return the sample aspect ratio of the target."""
        return scaled_aspect_ratio(info, self.width, self.height)

    def open_run(self, info: VideoInfo, run: Sequence[Part], warn: Callable[[str], None]) -> FrameSource:
        """Open the source for the frames of parts that follow each other. Raises VideoError."""
        start, stop = run[0].start, run[-1].stop
        after = self.span.end if stop is None else stop * info.time_base - info.origin
        span = Span(start * info.time_base - info.origin, after)
        return open_source(self.source, self.source_options, span=span, warn=warn)

    def identity(self, upscaler: Mapping[str, str], encoding: Encoding) -> dict[str, str]:
        """Return what decides the frames, by names for users."""
        options = {f"the {name.replace('_', ' ')}": str(value) for name, value in asdict(self.encoder).items()}
        return {
            "Supertile's version": __version__,
            "PyAV's version": av.__version__,
            "PyTorch's version": torch.__version__,
            "the source": file_identity(self.source),
            "the size": f"{self.width}x{self.height}",
            "the time span": f"{self.span.start} to {self.span.end}",
            "deinterlacing": self.source_options.deinterlace,
            "the video stream": str(self.source_options.stream),
            "the encoder": f"{encoding.encoder} in {encoding.pixel_format.name}",
            **{f"the {name}": value for name, value in upscaler.items()},
            **options,
        }

    def settings(self, metadata: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the task as JSON; see `task_of`."""
        return {
            "source": os.path.abspath(self.source),
            "size": [self.width, self.height],
            "encoder": asdict(self.encoder),
            "span": [None if bound is None else str(bound) for bound in (self.span.start, self.span.end)],
            "deinterlace": self.source_options.deinterlace,
            "stream": self.source_options.stream,
            "metadata": dict(metadata or {}),
        }


def task_of(folder: JobFolder) -> VideoTask:
    """Return the task of a job that an earlier run has begun. Raises VideoError if it cannot be read."""
    try:
        settings = folder.job["settings"]
        start, end = (None if bound is None else Fraction(bound) for bound in settings["span"])
        return VideoTask(
            Path(settings["source"]),
            Path(folder.job["target"]),
            *settings["size"],
            EncoderOptions(**settings["encoder"]),
            Span(start, end),
            SourceOptions(deinterlace=settings["deinterlace"], stream=settings["stream"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VideoError(f"{folder.path} holds no job that this version of Supertile can continue.") from error


def plan_job(task: VideoTask, info: VideoInfo, encoding: Encoding, seconds: float) -> list[Part]:
    """Return the parts of a task; none if it is to stay in one piece."""
    drops_alpha = encoding.encoder == "libvpx-vp9" and encoding.frames.layout.alpha  # NUT has no place for it
    if not seconds or drops_alpha or info.duration is None or info.stream_index is None:
        return []
    if info.duration * info.time_base < 2 * seconds:
        return []
    times = packet_times(task.source, task.source_options.stream)
    if times is None or not len(times.keys):
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
        inform: called with sentences about what is done already.

    Raises:
        VideoError: another process works on the same job, or its folder cannot be written.
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
        inform: Callable[[str], None] = _log.info,
    ) -> None:
        self._task, self._info, self._upscaler = task, info, upscaler
        self._metadata, self._overwrite, self._options, self._inform = metadata, overwrite, options, inform
        self._encoding = task.encoding(info)
        identity = task.identity(upscaler.identity(), self._encoding)
        earlier = JobFolder.find(task.target)
        if options.restart:
            for folder in earlier:
                folder.delete()
            earlier = []
        self.folder = JobFolder.create(task.target, identity, parts, task.settings(metadata))
        others = [folder for folder in earlier if folder.path != self.folder.path]
        self._frames_before = self._frames_done = 0
        self._done: set[int] = set()
        for part, record in self.folder.done():
            self._done.add(part.index)
            self._frames_before += record.frames
        self._frames_done = self._frames_before
        if self._done:
            self._say_where(parts)
        elif others:
            names = changes(others[0].job["identity"], identity) or ["the bounds of the parts"]
            inform(f"{task.target} is started anew, because {_listed(names)} changed since the interrupted run.")

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
        reuse_static: bool = True,
        progress: Callable[[VideoProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        warn: Callable[[str], None] = _log.warning,
        warnings: list[str] | None = None,
    ) -> VideoReport:
        """Compute the parts that are not done, and join all of them.

        Args:
            frames: the opened source, at the first frame of the job.
            reuse_static, progress, cancelled, warn: as `upscale_video` takes them.
            warnings: for the report, which shares the list.

        Raises:
            VideoError, UpscaleError, Cancelled: as `upscale_video`. The parts that are done stay.
        """
        try:
            reports = self._compute(frames, reuse_static, progress, cancelled, warn)
            self._join(self.folder.parts, self._task.target, self._task.span, cancelled)
        except BaseException:
            self._leave(warn)
            raise
        report = self._report(reports, [] if warnings is None else warnings)
        self.folder.delete()
        for folder in JobFolder.find(self._task.target):
            folder.delete()
        return report

    def _compute(
        self,
        frames: FrameSource,
        reuse_static: bool,
        progress: Callable[[VideoProgress], None] | None,
        cancelled: Callable[[], bool] | None,
        warn: Callable[[str], None],
    ) -> list[VideoReport]:
        reports: list[VideoReport] = []
        pending = [part for part in self.folder.parts if part.index not in self._done]
        total = sum(part.expected for part in self.folder.parts)
        for run in contiguous(pending):
            whole = len(run) == len(self.folder.parts)
            source = frames if whole else self._task.open_run(self._info, run, _silent if reports else warn)
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
            before = self._frames_before + sum(report.frames for report in reports)
            seconds = sum(report.times.total for report in reports)

            def forward(state: VideoProgress, before: int = before, seconds: float = seconds) -> None:
                assert progress is not None
                done = before + state.frames
                progress(
                    VideoProgress(
                        done, max(total, done), seconds + state.seconds, state.bytes_written, self._frames_before
                    )
                )

            try:
                reports.append(
                    transcode(
                        source,
                        writer,
                        self._upscaler,
                        str(self._task.target),
                        reuse_static=reuse_static,
                        progress=None if progress is None else forward,
                        cancelled=cancelled,
                    )
                )
            except BaseException:
                writer.discard()
                raise
            finally:
                if source is not frames:
                    source.close()
        return reports

    def _note(self, part: Part, record: PartRecord) -> None:
        self._done.add(part.index)
        self._frames_done += record.frames

    def _join(self, parts: Sequence[Part], target: Path, span: Span, cancelled: Callable[[], bool] | None) -> None:
        join_parts(
            self.folder,
            replace(self._task, target=target, span=span),
            self._info,
            parts,
            metadata=self._metadata,
            overwrite=self._overwrite,
            cancelled=cancelled or (lambda: False),
        )

    def _leave(self, warn: Callable[[str], None]) -> None:
        """Let go of the job after an interruption; its folder stays if a part is done."""
        if not self._done:
            self.folder.delete()
            return
        self.folder.close()
        target = self._task.target
        self._inform(
            f"{len(self._done)} of {len(self.folder.parts)} parts of {target} are done and kept. The same command goes "
            f"on from there; supertile join {target} makes a file of them."
        )
        if self._options.keep_partial:
            with suppress(VideoError):
                self._inform(f"{join_partial(self.folder)} holds the parts that are done.")

    def _report(self, reports: Sequence[VideoReport], warnings: list[str]) -> VideoReport:
        read = ReadReport()
        first, end, frames = None, 0, 0
        for _, record in self.folder.done():
            for name, count in record.damage.items():
                setattr(read, name, getattr(read, name) + count)
            if record.missing_at_end:
                read.missing_at_end = Fraction(record.missing_at_end)
            frames += record.frames
            if record.pts:
                first, end = (min(record.pts) if first is None else first), max(end, record.end)
        read.frames = frames
        busy: dict[str, float] = {}
        for report in reports:
            for stage, seconds in report.times.busy.items():
                busy[stage] = busy.get(stage, 0.0) + seconds
        times = StageTimes(sum(report.times.total for report in reports), busy or dict.fromkeys(STAGES, 0.0))
        return VideoReport(
            source=self._info.name,
            target=str(self._task.target),
            frames=frames,
            source_size=(self._info.width, self._info.height),
            target_size=(self._task.width, self._task.height),
            duration=(end - (first or 0)) * self._info.time_base,
            encoder=self._encoding.encoder,
            pixel_format=self._encoding.pixel_format.name,
            times=times,
            read=read,
            video_streams=self._info.video_streams,
            tiles_computed=sum(report.tiles_computed for report in reports),
            tiles_reused=sum(report.tiles_reused for report in reports),
            warnings=warnings,
            resumed_frames=self._frames_before,
        )


def join_parts(
    folder: JobFolder,
    task: VideoTask,
    info: VideoInfo,
    parts: Sequence[Part],
    *,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the file of a task from parts that are done. Raises VideoError, Cancelled."""
    sink = open_target(
        task.target,
        info,
        task.frames(info),
        task.encoder,
        span=task.span.shifted(info.origin),
        copy_from=task.source,
        metadata=metadata,
        overwrite=overwrite,
        warn=lambda _: None,
    )
    assert isinstance(sink, VideoWriter)
    try:
        join(folder, parts, sink, cancelled=cancelled)
    except BaseException:
        sink.discard()
        raise
    if cancelled():
        raise Cancelled("the upscaling was cancelled")


def join_partial(folder: JobFolder, target: Path | None = None, *, overwrite: bool = True) -> Path:
    """Join the parts of an unfinished job, up to the first that is missing; the parts stay.

    Args:
        folder: of the job.
        target: of the file; None: NAME.partial.SUFFIX beside the job's target.
        overwrite: replace the file if it exists.

    Returns:
        The path of the file.

    Raises:
        VideoError: the first part is missing, the source has changed, or the file cannot be written.
    """
    task = task_of(folder)
    parts: list[Part] = []
    for part, _ in folder.done():
        if part.index != len(parts):
            break
        parts.append(part)
    if not parts:
        raise VideoError(f"No part of {task.target} from its beginning on is done yet.")
    if folder.job["identity"].get("the source") != file_identity(task.source):
        raise VideoError(f"{task.source} has changed since its parts were made; start again with --restart.")
    target = target or task.target.with_name(f"{task.target.stem}.partial{task.target.suffix}")
    frames = open_source(task.source, task.source_options, span=task.span, warn=lambda _: None)
    info = frames.info
    frames.close()
    stop = parts[-1].stop
    end = task.span.end if stop is None else stop * info.time_base - info.origin
    cut = replace(task, target=target, span=Span(task.span.start, end))
    join_parts(folder, cut, info, parts, metadata=folder.job["settings"]["metadata"], overwrite=overwrite)
    return target


def _silent(_: str) -> None:
    """Leave a warning out, which the user has seen."""


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last} have" if most else f"{last} has"


def _clock(seconds: Fraction) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
