"""Progress bars and tables that stay readable on terminals of any width."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskProgressColumn
from rich.table import Column, Table
from rich.text import Text

from ..images.words import duration_in_words

if TYPE_CHECKING:
    from ..video.report import VideoProgress

_WIDE = 80
"""Columns from which a progress bar shows all that it has."""
_NARROW, _NARROWEST = 40, 28
"""Columns below which progress is shown without a bar, and without a percentage."""
_TABLE_WIDTH = 60
"""On narrower terminals, a table that does not fit becomes a list."""


def show(table: Table) -> None:
    """Print a table on stdout; if that is not a terminal, as wide as it needs, for programs that read lines."""
    console = Console()
    if not console.is_terminal:
        Console(width=10_000).print(table)
    elif console.width >= _TABLE_WIDTH or _full_width(console, table) <= console.width:
        console.print(table)
    else:
        _print_as_list(console, table)


def _full_width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def _print_as_list(console: Console, table: Table) -> None:
    """Print the rows of a table one below the other, with a line for each cell; one line if there is no header."""
    others = table.columns[1:]
    for title, *cells in zip(*(column.cells for column in table.columns), strict=True):
        if not table.show_header:
            console.print(f"{title}: {', '.join(map(str, cells))}", highlight=False)
            continue
        console.print(title, highlight=False)
        for column, cell in zip(others, cells, strict=True):
            if str(cell):
                console.print(f"  {column.header}: {cell}", highlight=False)
    if table.caption:
        console.print(table.caption)


class DescriptionColumn(ProgressColumn):
    """The description of a task; its first word on narrow terminals.

    Args:
        is_short: True for the first word.
    """

    def __init__(self, *, is_short: bool) -> None:
        super().__init__(_one_line())
        self._is_short = is_short

    def render(self, task: Task) -> Text:
        return Text(task.description.partition(" ")[0] if self._is_short else task.description)


class TimeLeftColumn(ProgressColumn):
    """The time left, from the first step on: the task's `seconds_left` if it has that, else by its average pace.

    Args:
        suffix: word after the time.
    """

    max_refresh = 0.5

    def __init__(self, suffix: str = " left") -> None:
        super().__init__(_one_line())
        self._suffix = suffix

    def render(self, task: Task) -> Text:
        if "seconds_left" in task.fields:
            left = task.fields["seconds_left"]
        elif task.total is None or not task.completed or task.elapsed is None:
            left = None
        else:
            left = task.elapsed / task.completed * max(0.0, task.total - task.completed)
        return Text("" if left is None else f"{duration_in_words(left)}{self._suffix}")


@contextmanager
def progress_bar(console: Console, *, hidden: bool) -> Iterator[Progress]:
    """Show progress bars on stderr while the block runs, unless `hidden` or stderr is not a terminal."""
    with Progress(
        *_columns(console.width),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # a summary that goes to a file must not end up on the terminal
    ) as progress:
        yield progress


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    description = DescriptionColumn(is_short=width < _WIDE)
    if width < _NARROWEST:
        return description, TimeLeftColumn("")
    if width < _NARROW:
        return description, TaskProgressColumn(table_column=_one_line()), TimeLeftColumn("")
    room_for_bar = 40 if width >= _WIDE else max(4, width - 36)
    return description, BarColumn(room_for_bar), MofNCompleteColumn(table_column=_one_line()), TimeLeftColumn()


def _one_line() -> Column:
    return Column(no_wrap=True)


def frame_bar_state(state: VideoProgress) -> dict[str, Any]:
    """Return what a progress bar of frames shows, as arguments of `Progress.update`."""
    text = f"frames ({state.fps:.2f} fps, {state.bytes_written / 1e6:.1f} MB written)"
    return {"completed": state.frames, "total": state.expected, "description": text}
