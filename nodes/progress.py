"""Tiles of one run of a model after another -> how much of the whole job is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Progress:
    """An Upscaler's `progress` over several runs.

    Args:
        runs: the tiles expected in each run, in order. A run in which there turn out to be more (seamless edges,
            smaller tiles after an out-of-memory error) counts no more than expected.
        report: called with the tiles done and the tiles of all runs; never less than before, never more than all.
    """

    def __init__(self, runs: Sequence[int], report: Callable[[int, int], None]) -> None:
        self._runs, self._report = list(runs), report
        self._total = sum(self._runs)
        self._run = self._finished = self._last = self._most = 0

    def __call__(self, done: int, known: int) -> None:
        if done <= self._last and self._run + 1 < len(self._runs):  # within a run it only grows
            self._finished += self._runs[self._run]
            self._run += 1
        self._last = done
        expected = self._runs[self._run]
        value = self._finished + expected * done // max(known, expected)
        self._most = max(self._most, value)
        self._report(self._most, self._total)
