"""Presentation times of decoded frames: strictly rising integers, and a duration for every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from ..frames import ReadReport

T = TypeVar("T")

# A step back of more than this is a clock that was set anew (joined recordings, a 33-bit clock that wrapped): what
# follows is moved behind what came before. A smaller one is a single wrong time.
_NEW_CLOCK = Fraction(1)  # second


@dataclass
class Timed(Generic[T]):
    """Something shown from `pts` for `duration`, both in time base units; None where the file does not say."""

    item: T
    pts: int | None
    duration: int | None = None


@dataclass
class Timeline:
    """Repairs times and gives durations. One for each pass over a stream.

    nominal: the usual distance between frames, at least 1. declared_end: pts where the stream says it ends.
    """

    time_base: Fraction
    nominal: int
    report: ReadReport
    declared_end: int | None = None
    end: int | None = None  # of the last frame, once all were given out
    count: int = 0  # of frames that were given a time
    _last: int | None = None
    _offset: int = 0

    @property
    def is_untouched(self) -> bool:
        """Whether no frame has been given a time yet."""
        return self._last is None

    def repaired(self, pts: int | None) -> int:
        """The time to use for the next frame's own time: after that of the frame before, else changed and counted."""
        last = self._last
        self.count += 1
        if pts is not None:
            pts += self._offset
        if last is None:
            if pts is None:
                self.report.repaired_pts += 1
                pts = 0
        elif pts is None:
            self.report.repaired_pts += 1
            pts = last + self.nominal
        elif pts <= last:
            self.report.repaired_pts += 1
            if (last - pts) * self.time_base > _NEW_CLOCK:
                self._offset += last + self.nominal - pts
                pts = last + self.nominal
            else:
                pts = last + 1  # the least change; times after it are left as they are
        self._last = pts
        return pts

    def durations(self, frames: Iterable[Timed[T]]) -> Iterator[Timed[T]]:
        """Give each frame the time until the next; the last keeps what the file declares. Holds one frame back.

        `pts` of the frames must be set and rise. A frame's own duration counts only for the last: those of files with
        B-frames are distances in decoding order.
        """
        held: Timed[T] | None = None
        step = self.nominal
        for frame in frames:
            if held is not None:
                assert frame.pts is not None
                assert held.pts is not None
                step = frame.pts - held.pts
                yield Timed(held.item, held.pts, step)
            held = frame
        if held is not None:
            assert held.pts is not None
            duration = self._last_duration(held.pts, held.duration, step)
            self.end = held.pts + duration
            yield Timed(held.item, held.pts, duration)

    def _last_duration(self, pts: int, own: int | None, step: int) -> int:
        """The declared end decides if it is near; if it is far away, frames are missing, or its unit is."""
        own = own if own is not None and own > 0 else None
        if self.declared_end is not None:
            until_end = self.declared_end - pts
            usual = max(own or 0, self.nominal, step)
            if 0 < until_end <= usual * Fraction(3, 2):
                return until_end
        return own or self.nominal
