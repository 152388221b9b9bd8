"""Estimate the time that is left from the steps done in the last minutes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_SAMPLE_INTERVAL_S = 5
_MAX_SAMPLES = 60


class Pace:
    """The pace of a job: an estimate from the first step on, of the last five minutes in long jobs.

    Args:
        started: when the job began, on the clock.
        first: steps that were done by then.
        clock: for tests; seconds.
    """

    def __init__(
        self, started: float | None = None, first: float = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        start = (clock() if started is None else started, first)
        self._samples = deque([start], _MAX_SAMPLES)
        self._now = start

    def update(self, done: float) -> None:
        """Note that so many steps are done. Fractions of a step count."""
        self._now = (self._clock(), max(done, self._now[1]))
        if self._now[0] - self._samples[-1][0] >= _SAMPLE_INTERVAL_S:
            self._samples.append(self._now)

    @property
    def seconds_per_step(self) -> float | None:
        """None before anything is done."""
        seconds, steps = (now - before for now, before in zip(self._now, self._samples[0], strict=True))
        return seconds / steps if steps > 0 else None

    def seconds_left(self, total: float | None) -> float | None:
        """Return the seconds until `total` steps are done, None if that cannot be known."""
        pace = self.seconds_per_step
        return None if pace is None or total is None else pace * max(0.0, total - self._now[1])
