"""Show how far `supertile upscale` is: bars on a terminal, elsewhere a line every 30 s, and events for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from ..images.words import duration_in_words
from .console import say
from .display import frame_bar_state
from .events import print_event
from .pace import Pace

if TYPE_CHECKING:
    from ..images.jobs import FileJob
    from ..video.report import VideoProgress

LINE_INTERVAL_S = 30.0
EVENT_INTERVAL_S = 1.0


class UpscaleProgress:
    """The progress of one run: images first, videos after them.

    Args:
        console: for lines, if it is not a terminal.
        bars: on the same console; shown if it is a terminal.
        images: number of images.
        videos: the jobs of videos, in order.
        quiet: print no lines.
        events: print progress as JSON on standard output.
    """

    def __init__(
        self, console: Console, bars: Progress, images: int, videos: Sequence[FileJob], *, quiet: bool, events: bool
    ) -> None:
        self._console, self._bars = console, bars
        self._images, self._videos = images, videos
        self._total = images + len(videos)
        self._has_lines, self._has_events = not quiet and not console.is_terminal, events
        self._finished = self._computed = 0
        self._pace = Pace()  # of images, in files
        self._frame_pace: Pace | None = None
        self._line_due = time.monotonic() + LINE_INTERVAL_S
        self._event_due = 0.0
        self._files = bars.add_task("files", total=self._total, visible=self._total > 1, seconds_left=None)
        self._steps = bars.add_task("tiles" if images else "frames", total=None)

    def tiles(self, done: int, total: int) -> None:
        """Show how many tiles of an image are done."""
        share = done / total if total else 0.0
        self._pace.update(self._computed + share)
        left = self._pace.seconds_left(self._computed + self._images - self._finished)
        self._bars.update(self._steps, completed=done, total=total)
        self._bars.update(self._files, seconds_left=None if self._videos else left)
        if self._is_line_due():
            say(self._console, self._image_line(done, total, left))
        if self._is_event_due():
            pace = self._pace.seconds_per_step
            print_event("progress", **self._event(seconds_per_file=_rounded(pace), seconds_left=_rounded(left)))

    def frame(self, state: VideoProgress) -> None:
        """Show how far a video is."""
        if self._frame_pace is None:
            self._frame_pace = Pace(time.monotonic() - state.seconds, state.frames - 1)
        self._frame_pace.update(state.frames)
        pace, left = self._frame_pace.seconds_per_step, self._frame_pace.seconds_left(state.expected)
        fps = 1 / pace if pace else 0.0
        self._bars.update(self._steps, **frame_bar_state(state), seconds_left=left)
        job = self._videos[self._finished - self._images]
        if self._is_line_due():
            say(self._console, self._video_line(job.source, state, fps, left))
        if self._is_event_due():
            fields = self._event(job.source, job.target, fps=_rounded(fps), seconds_left=_rounded(left))
            print_event("progress", **fields | {"frames": state.frames, "frames_expected": state.expected})

    def file_finished(self, *, computed: bool) -> None:
        """Count a file; those that were skipped tell nothing of the time that is left."""
        self._finished += 1
        self._computed += computed
        self._bars.advance(self._files)
        if self._videos and self._finished >= self._images:
            self._frame_pace = None
            self._bars.reset(self._steps, description="frames", total=None)
        else:
            self._pace.update(self._computed)

    def _event(
        self, source: Path | None = None, target: Path | None = None, **fields: float | None
    ) -> dict[str, object]:
        names = ("frames", "frames_expected", "fps", "seconds_per_file", "seconds_left")
        files = {"files_done": self._finished, "files": self._total}
        return {"source": source, "target": target, **files, **dict.fromkeys(names), **fields}

    def _image_line(self, tiles: int, tiles_of: int, left: float | None) -> str:
        if self._total == 1:
            return _joined(f"{tiles:,} of {tiles_of:,} tiles", _left(left))
        pace = self._pace.seconds_per_step
        return _joined(
            f"{self._finished:,} of {self._total:,} files",
            None if pace is None else f"{pace:.1f} s a file",
            None if self._videos else _left(left),
        )

    def _video_line(self, source: Path, state: VideoProgress, fps: float, left: float | None) -> str:
        frames = (
            f"{state.frames:,} frames" if state.expected is None else f"{state.frames:,} of {state.expected:,} frames"
        )
        line = _joined(frames, f"{fps:.2f} fps", _left(left))
        return line if self._total == 1 else f"{source} (file {self._finished + 1:,} of {self._total:,}): {line}"

    def _is_line_due(self) -> bool:
        if not self._has_lines or time.monotonic() < self._line_due:
            return False
        self._line_due = time.monotonic() + LINE_INTERVAL_S
        return True

    def _is_event_due(self) -> bool:
        if not self._has_events or time.monotonic() < self._event_due:
            return False
        self._event_due = time.monotonic() + EVENT_INTERVAL_S
        return True


def _left(seconds: float | None) -> str | None:
    return None if seconds is None else f"about {duration_in_words(seconds)} left"


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part is not None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
