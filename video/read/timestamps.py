"""Repair presentation times, so that they rise strictly, and compute the duration of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from ..frames import ReadReport

T = TypeVar("T")

# A larger step back is a reset of the clock (joined recordings, a 33-bit clock that wrapped): all later frames are
# moved after the earlier ones. A smaller step is a single wrong time.
_CLOCK_RESET_SECONDS = Fraction(1)


@dataclass
class Timed(Generic[T]):
    """An item shown at `pts` for `duration`, in time base units; None if unknown."""

    item: T
    pts: int | None
    duration: int | None = None


@dataclass
class Timeline:
    """Repairs times and computes durations, for one pass over a stream.

    Attributes:
        nominal: nominal duration of a frame, at least 1.
        declared_end: pts at which the stream declares to end.
        next_pts: pts of the first frame that is not read, where reading ends before the stream does.
        end: end of the last frame, after all frames.
        count: number of frames so far.
    """

    time_base: Fraction
    nominal: int
    report: ReadReport
    declared_end: int | None = None
    next_pts: int | None = None
    end: int | None = None
    count: int = 0
    _last: int | None = None
    _offset: int = 0

    @property
    def is_untouched(self) -> bool:
        """True before the first frame."""
        return self._last is None

    def repaired(self, pts: int | None) -> int:
        """Return the time of the next frame, corrected if it is missing or not after that of the previous frame."""
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
            if (last - pts) * self.time_base > _CLOCK_RESET_SECONDS:
                self._offset += last + self.nominal - pts
                pts = last + self.nominal
            else:
                pts = last + 1  # the smallest change; later times stay
        self._last = pts
        return pts

    def durations(self, frames: Iterable[Timed[T]]) -> Iterator[Timed[T]]:
        """Yield frames with the time until the next as their duration. Holds one frame back.

        The pts of `frames` must rise. Their own durations are used for the last frame only, because in files with
        B-frames they are distances in decoding order.
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
        """Return the duration up to the next frame, else to a plausible declared end, else its own or the nominal."""
        if self.next_pts is not None:
            return self.next_pts - pts
        own = own if own is not None and own > 0 else None
        if self.declared_end is not None:
            until_end = self.declared_end - pts
            usual = max(own or 0, self.nominal, step)
            if 0 < until_end <= usual * Fraction(3, 2):
                return until_end
        return own or self.nominal
