"""Progress of several runs of a model, or of several files, as progress of one job.

Needs no ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

STEPS_PER_FILE = 100


class Progress:
    """Callback for an Upscaler's `progress`, over several runs.

    Args:
        runs: tiles expected in each run, in order. A run with more tiles (seamless edges, smaller tiles after an
            out-of-memory error) still counts as many as expected.
        report: called with the tiles done and the tiles of all runs; the first never decreases or exceeds the second.
    """

    def __init__(self, runs: Sequence[int], report: Callable[[int, int], None]) -> None:
        self._runs, self._report = list(runs), report
        self._total = sum(self._runs)
        self._run = self._finished = self._last = self._most = 0

    def __call__(self, done: int, known: int) -> None:
        if done <= self._last and self._run + 1 < len(self._runs):  # `done` only grows within a run
            self._finished += self._runs[self._run]
            self._run += 1
        self._last = done
        expected = self._runs[self._run]
        value = self._finished + expected * done // max(known, expected)
        self._most = max(self._most, value)
        self._report(self._most, self._total)


class FolderProgress:
    """Progress over many files and within each, as steps of which a file counts STEPS_PER_FILE.

    Args:
        files: number of files.
        report: called with the steps done and the steps of all files; the first never decreases.
    """

    def __init__(self, files: int, report: Callable[[int, int], None]) -> None:
        self._files, self._report = files, report
        self._most = 0
        self.finished = 0

    def within(self, done: int, total: int | None) -> None:
        """Report how much of a file is done, in any unit; without a total, nothing is known of the rest."""
        if total:
            self._reach(self.finished * STEPS_PER_FILE + STEPS_PER_FILE * min(done, total) // total)

    def file_finished(self) -> None:
        """Count a file."""
        self.finished += 1
        self._reach(self.finished * STEPS_PER_FILE)

    def _reach(self, steps: int) -> None:
        self._most = max(self._most, steps)
        self._report(self._most, self._files * STEPS_PER_FILE)
