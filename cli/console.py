"""What every command says on the terminal: bars, warnings, one sentence for an error, and an exit code."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import SupertileError

if TYPE_CHECKING:
    from ..video.report import VideoProgress

FAILED, USAGE, INCOMPLETE, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143


@contextmanager
def sigterm_cleans_up() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does: half-written files are removed first."""

    def stop(*_: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def errors_as_sentences(debug: bool) -> Iterator[None]:
    """Errors become one sentence on stderr and an exit code; with `debug` they stay errors, with their traceback."""
    console = Console(stderr=True)
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        say(console, "Interrupted; finished files are kept.")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        from ..inference.errors import Cancelled

        if isinstance(error, Cancelled):
            say(console, "Interrupted; finished files are kept.")
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, SupertileError):
            say(console, str(error))
            raise typer.Exit(error.exit_code) from None
        say(console, f"Unexpected {type(error).__name__}: {error} (--debug shows where.)")
        raise typer.Exit(FAILED) from None


def say(console: Console, sentence: str) -> None:
    """A line on stderr, on one line also where the terminal is narrow, beside a progress bar without tearing it."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """A table on stdout; where that is no terminal, as wide as it needs, for programs that read lines."""
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


@contextmanager
def progress_bar(console: Console, *, hidden: bool) -> Iterator[Progress]:
    """A progress bar on stderr; none where stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # a summary that goes to a file must not end up on the terminal
    ) as progress:
        yield progress


@contextmanager
def warnings_once(console: Console) -> Iterator[None]:
    """Warnings as sentences on stderr, each once; those of the libraries below only on request (python -W)."""
    from ..images.io.errors import ImageFileWarning

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", ImageFileWarning)
        said = set()

        def show(message: Warning | str, *_: object, **__: object) -> None:
            if str(message) not in said:
                said.add(str(message))
                say(console, f"Warning: {message}")

        warnings.showwarning = show
        yield


def bar_of_frames(state: VideoProgress) -> dict[str, Any]:
    """What the bar of frames shows."""
    text = f"frames {state.fps:.2f} fps {state.bytes_written / 1e6:.1f} MB"
    return {"completed": state.frames, "total": state.expected, "description": text}
