"""What became of a video job, for people and for scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from .frames import ReadReport
from .pipeline import STAGES, StageTimes


@dataclass(frozen=True)
class VideoProgress:
    """How far a job is."""

    frames: int  # upscaled
    expected: int | None  # as the source declares; None where it does not say
    seconds: float  # since the first frame was asked for
    bytes_written: int  # of the file so far

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class VideoReport:
    """A finished job. Sizes are (width, height); durations in seconds.

    warnings: what was converted, dropped, repaired or found damaged, a sentence each, in the order it was found.
    tiles_reused: of the tiles, those that did not change from one frame to the next and were not computed again.
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
    tiles_computed: int = 0
    tiles_reused: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames finished per second of the whole job."""
        return self.frames / self.times.total if self.times.total else 0.0

    @property
    def complete(self) -> bool:
        """Whether every frame that the source declares was there, undamaged."""
        read = self.read
        damage = (read.missing_at_end, read.missing_frames, read.corrupt_frames, read.undecodable_packets)
        return not any(damage)

    def stage_table(self) -> str:
        """One line: the busy share of each stage and which of them bounds the job."""
        shares = ", ".join(f"{stage} {self.times.share(stage):.0%}" for stage in STAGES)
        return f"busy: {shares}; bound by {self.times.bound_by}"

    def summary(self) -> str:
        """The job in one line."""
        before, after = ("x".join(map(str, size)) for size in (self.source_size, self.target_size))
        line = (
            f"{self.source} {before} -> {self.target} {after}: {self.frames} frames in {self.times.total:.1f} s, "
            f"{self.fps:.2f} fps ({self.stage_table()})"
        )
        if self.tiles_reused:
            share = self.tiles_reused / (self.tiles_computed + self.tiles_reused)
            line += f"; {share:.0%} of the tiles were static and reused"
        return line
