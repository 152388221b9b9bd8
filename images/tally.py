"""Count the results of many files: "198 files done, 2 skipped (done before), 1 failed."."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Numbers of files that were done, that were skipped for each reason, and that failed."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self._skipped: Counter[str] = Counter()

    def add(self, *, failed: bool, skipped: str) -> None:
        """Count a file; `skipped` is the reason why it was not made, "" if it was."""
        if failed:
            self.failed += 1
        elif skipped:
            self._skipped[skipped] += 1
        else:
            self.done += 1

    @property
    def skipped(self) -> int:
        """Files that were skipped, for whatever reason."""
        return self._skipped.total()

    def sentence(self) -> str:
        """Return the numbers as a sentence."""
        done = "1 file done" if self.done == 1 else f"{self.done:,} files done"
        skipped = [f"{count:,} skipped ({reason})" for reason, count in self._skipped.items()]
        failed = [f"{self.failed:,} failed"] if self.failed else []
        return f"{', '.join([done, *skipped, *failed])}."
