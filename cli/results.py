"""Print the result of each file of `supertile upscale`, count them, and find the exit code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from ..errors import SupertileError
from ..images.tally import Tally
from .console import FAILED, INCOMPLETE, error_sentence, say, show_traceback
from .events import print_event

if TYPE_CHECKING:
    from ..images.batch import Outcome
    from ..images.jobs import FileJob
    from ..images.journal import Journal
    from ..video.batch import VideoOutcome


class Results:
    """The results of one run.

    Args:
        console: for errors and the summary.
        total: number of files.
        quiet: print errors only.
        debug: show the tracebacks of errors.
        keep_times: give each target the times of its source.
        journal: of the target folder, if it has one.
        events: print results as JSON, instead of a line for each.
    """

    def __init__(
        self,
        console: Console,
        total: int,
        *,
        quiet: bool,
        debug: bool,
        keep_times: bool,
        journal: Journal | None,
        events: bool,
    ) -> None:
        self._console, self._total = console, total
        self._quiet, self._debug, self._keep_times, self._has_events = quiet, debug, keep_times, events
        self._journal = journal
        self._tally = Tally()
        self._incomplete = False
        self._started = time.monotonic()

    def add_image(self, outcome: Outcome) -> None:
        """Print the result of an image. Raises its error if it is the only file."""
        before, after = ("x".join(map(str, size)) for size in (outcome.source_size, outcome.target_size))
        job = outcome.job
        line = f"{job.source} {before} -> {job.target} {after} ({outcome.seconds:.1f} s)"
        facts = {
            "source_size": outcome.source_size,
            "target_size": outcome.target_size,
            "seconds": round(outcome.seconds, 3),
            "complete": outcome.complete,
        }
        self._add(outcome, line, facts)

    def add_video(self, outcome: VideoOutcome) -> None:
        """Print the result of a video. Raises its error if it is the only file."""
        report = outcome.report
        if report is None:
            self._add(outcome, "", {})
            return
        facts = {
            "source_size": report.source_size,
            "target_size": report.target_size,
            "seconds": round(report.times.total, 3),
            "complete": report.complete,
            "frames": report.frames,
            "fps": round(report.fps, 3),
        }
        self._add(outcome, report.summary(), facts)

    def _add(self, outcome: Outcome | VideoOutcome, line: str, facts: dict[str, Any]) -> None:
        from ..images.journal import EXISTS

        job, error = outcome.job, outcome.error
        if error is None and self._keep_times and outcome.skipped != EXISTS:
            error = _times_error(job)
            if self._journal is not None:
                self._journal.record_times(job)
        self._tally.add(failed=error is not None, skipped=outcome.skipped)
        if error is not None:
            self._add_failure(job, error)
        elif outcome.skipped:
            if self._has_events:
                print_event("skipped", source=job.source, target=job.target, reason=outcome.skipped)
        else:
            self._incomplete |= not facts["complete"]
            if self._has_events:
                size = job.target.stat().st_size if job.target.is_file() else None
                print_event("done", source=job.source, target=job.target, **facts, bytes=size)
            elif not self._quiet:
                typer.echo(line)

    def _add_failure(self, job: FileJob, error: Exception) -> None:
        """Print an error; raise that of a single file, which decides the exit code."""
        sentence = error_sentence(error, job.source)
        if self._has_events:
            print_event("failed", source=job.source, target=job.target, message=sentence)
        if self._total == 1 and (self._debug or isinstance(error, SupertileError)):
            self._print_summary_event()
            raise error
        if self._debug and not isinstance(error, SupertileError):
            show_traceback(self._console, error)
        say(self._console, sentence)

    def exit(self) -> None:
        """Print the summary, and leave the program with a code other than 0 unless all files are there and complete."""
        self._print_summary_event()
        tally = self._tally
        is_news = tally.failed or not self._quiet
        if (self._total > 1 and is_news) or (tally.skipped and not self._quiet):
            say(self._console, tally.sentence())
        if tally.failed:
            raise typer.Exit(FAILED)
        if self._incomplete:
            raise typer.Exit(INCOMPLETE)

    def _print_summary_event(self) -> None:
        if self._has_events:
            tally, seconds = self._tally, round(time.monotonic() - self._started, 3)
            print_event("summary", done=tally.done, skipped=tally.skipped, failed=tally.failed, seconds=seconds)


def _times_error(job: FileJob) -> Exception | None:
    """Give the target of a job, unless it is numbered images, the times of its source; return why that failed."""
    from ..images.io.atomic import copy_times

    if not (job.source.is_file() and job.target.is_file()):
        return None
    try:
        copy_times(job.source, job.target)
    except OSError as error:
        return SupertileError(f"{job.target} is written, but its times cannot be set ({error.strerror}).")
    return None
