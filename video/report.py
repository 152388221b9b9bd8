"""Progress and final report of a video job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from .frames import ReadReport
from .pipeline import STAGES, StageTimes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class VideoProgress:
    """Progress of a job."""

    frames: int  # upscaled, those of an interrupted run included
    expected: int | None  # declared by the source; None if it declares nothing
    seconds: float  # since the job started
    bytes_written: int  # of the file so far
    resumed_frames: int = 0  # upscaled by an interrupted run
    thumbnail: Callable[[int], Tensor] | None = None  # of the latest frame, as `thumbnail.thumbnail` with its `side`

    @property
    def fps(self) -> float:
        return (self.frames - self.resumed_frames) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class VideoReport:
    """Report of a finished job. Sizes are (width, height); durations are in seconds.

    Attributes:
        video_streams: which of how many video streams of the source was upscaled, counted from 0.
        read: what the reader repaired or could not read.
        tiles_computed, tiles_reused: tiles that went through the model, and static tiles that were reused.
        warnings: one sentence for each stream or property that was converted, dropped, repaired or damaged, in order.
        resumed_frames: frames that an interrupted run had upscaled.
        frames_by_device: frames that each device of a pool has upscaled; empty without a pool.
        copy_of: path of the file of an earlier run that the target is a link or copy of; "" if it was computed.
    """

    source: str
    target: str
    frames: int
    source_size: tuple[int, int]
    target_size: tuple[int, int]
    duration: Fraction
    encoder: str
    pixel_format: str
    times: StageTimes
    read: ReadReport
    video_streams: tuple[int, int] = (0, 1)
    tiles_computed: int = 0
    tiles_reused: int = 0
    warnings: list[str] = field(default_factory=list)
    resumed_frames: int = 0
    frames_by_device: dict[str, int] = field(default_factory=dict)
    copy_of: str = ""

    @property
    def fps(self) -> float:
        """Frames per second of this run."""
        return (self.frames - self.resumed_frames) / self.times.total if self.times.total else 0.0

    @property
    def complete(self) -> bool:
        """True if every frame that the source declares was decoded without damage."""
        read = self.read
        damage = (
            read.missing_at_end,
            read.missing_frames,
            read.corrupt_frames,
            read.undecodable_packets,
            read.later_files,
        )
        return not any(damage)

    def stage_table(self) -> str:
        """Return one line with the busy share of each stage and the stage that limits the job."""
        shares = ", ".join(f"{stage} {self.times.share(stage):.0%}" for stage in STAGES)
        return f"busy: {shares}; bound by {self.times.bound_by}"

    def _devices(self) -> str:
        return ", ".join(f"{device} {frames} frames" for device, frames in self.frames_by_device.items())

    def summary(self) -> str:
        """Return one line about the job."""
        before, after = ("x".join(map(str, size)) for size in (self.source_size, self.target_size))
        if self.copy_of:
            return f"{self.source} {before} -> {self.target} {after}: {self.frames} frames, as in {self.copy_of}"
        line = (
            f"{self.source} {before} -> {self.target} {after}: {self.frames} frames in {self.times.total:.1f} s, "
            f"{self.fps:.2f} fps ({self._devices() or self.stage_table()})"
        )
        if self.resumed_frames:
            line += f"; {self.resumed_frames} of them were done before"
        number, count = self.video_streams
        if count > 1:
            line += f"; video stream {number} of 0 to {count - 1} was upscaled, the others copied as they are"
        if self.tiles_reused:
            share = self.tiles_reused / (self.tiles_computed + self.tiles_reused)
            line += f"; {share:.0%} of the tiles were static and reused"
        return line
