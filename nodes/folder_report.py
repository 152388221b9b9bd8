"""The report on a folder that was upscaled, as lines of text. Needs no ComfyUI."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..errors import SupertileError
from ..images.batch import Outcome
from ..images.io.atomic import OVERWRITE
from ..images.jobs import FileJob
from ..images.tally import Tally
from ..video.batch import VideoOutcome

MAX_LINES = 100
"""Of failures, and of notes. The log has all of them."""

log = logging.getLogger(__name__)


class FolderReport:
    """Counts, failures and notes of one run.

    Args:
        folders: from where to where, "input/photos -> output/upscaled".
        plain: returns a sentence with paths as users know them.
    """

    def __init__(self, folders: str, plain: Callable[[str], str]) -> None:
        self._folders, self._plain = folders, plain
        self._tally = Tally()
        self._failures: list[str] = []
        self._notes: list[str] = []
        self._more_failures = self._more_notes = 0
        self._started = time.monotonic()

    def add(self, outcome: Outcome | VideoOutcome) -> None:
        """Count the outcome of a file, and keep what must be said of it."""
        self._tally.add(failed=outcome.error is not None, skipped=outcome.skipped)
        if outcome.error is not None:
            self._fail(outcome.job, outcome.error)
        elif isinstance(outcome, VideoOutcome) and outcome.report is not None:
            for sentence in outcome.report.warnings:
                self.note(sentence, outcome.job)

    def note(self, sentence: str, job: FileJob | None = None) -> None:
        """Add a note, about the file of a job if one is given."""
        line = self._about(job, self._plain(sentence))
        log.info("Upscale Folder: %s", line)
        if len(self._notes) < MAX_LINES:
            self._notes.append(f"note: {line}")
        else:
            self._more_notes += 1

    @property
    def failed(self) -> int:
        """Files that failed so far."""
        return self._tally.failed

    def counts(self) -> str:
        """Return the numbers so far as a sentence."""
        return self._tally.sentence()

    def text(self) -> str:
        """Return the report."""
        lines = [self._tally.sentence(), self._folders, f"time: {time.monotonic() - self._started:.1f} s"]
        lines += self._failures
        if self._more_failures:
            lines.append(f"failed: {self._more_failures:,} more, see the log")
        lines += self._notes
        if self._more_notes:
            lines.append(f"note: {self._more_notes:,} more, see the log")
        return "\n".join(lines)

    def _fail(self, job: FileJob, error: Exception) -> None:
        if isinstance(error, SupertileError):
            sentence = self._plain(str(error)).replace(OVERWRITE, "choose overwrite to replace it")
        else:
            words = getattr(error, "strerror", None) or " ".join(str(error).split())
            sentence = f"unexpected {type(error).__name__}: {self._plain(words)} (see the log)"
            log.error("Upscale Folder: an unexpected error", exc_info=error)
        line = self._about(job, sentence)
        log.warning("Upscale Folder: failed: %s", line)
        if len(self._failures) < MAX_LINES:
            self._failures.append(f"failed: {line}")
        else:
            self._more_failures += 1

    def _about(self, job: FileJob | None, sentence: str) -> str:
        """Return a sentence that names its file first, unless it does already."""
        name = "" if job is None else self._plain(str(job.source))
        return sentence if name in sentence else f"{name}: {sentence}"
