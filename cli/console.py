"""Terminal output of all commands: progress bars, warnings, one sentence per error, and exit codes."""

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
INTERRUPTED_SENTENCE = "Interrupted; finished files are kept."


@contextmanager
def sigterm_cleans_up() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, removing half-written files first."""

    def stop(*_: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def errors_as_sentences(debug: bool) -> Iterator[None]:
    """Turn errors into one sentence on stderr and an exit code. With `debug` they are raised, with their traceback."""
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise _failure(INTERRUPTED_SENTENCE, INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        if isinstance(error, SupertileError):
            raise _failure(str(error), error.exit_code) from None
        from ..inference.errors import Cancelled  # imports torch

        if isinstance(error, Cancelled):
            raise _failure(INTERRUPTED_SENTENCE, INTERRUPTED) from None
        sentence = f"Unexpected {type(error).__name__}: {error} (run the command again with --debug to see where)"
        raise _failure(sentence, FAILED) from None


def _failure(sentence: str, exit_code: int) -> typer.Exit:
    say(Console(stderr=True), sentence)
    return typer.Exit(exit_code)


def say(console: Console, sentence: str) -> None:
    """Print one line, not wrapped even on a narrow terminal, without tearing a progress bar."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table on stdout; if that is not a terminal, as wide as it needs, for programs that read lines."""
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


@contextmanager
def progress_bar(console: Console, *, hidden: bool) -> Iterator[Progress]:
    """Show progress bars on stderr while the block runs, unless `hidden` or stderr is not a terminal."""
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
    """Print each of our warnings once, as a sentence on stderr. Those of other libraries need `python -W`."""
    from ..images.io.errors import ImageFileWarning

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", ImageFileWarning)
        printed = set()

        def show(message: Warning | str, *_: object, **__: object) -> None:
            if str(message) not in printed:
                printed.add(str(message))
                say(console, f"Warning: {message}")

        warnings.showwarning = show
        yield


def frame_bar_state(state: VideoProgress) -> dict[str, Any]:
    """Return what a progress bar of frames shows, as arguments of `Progress.update`."""
    text = f"frames ({state.fps:.2f} fps, {state.bytes_written / 1e6:.1f} MB written)"
    return {"completed": state.frames, "total": state.expected, "description": text}
