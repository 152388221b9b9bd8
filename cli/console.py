"""Terminal output of all commands: progress bars, warnings, one sentence per error, and exit codes."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from ..errors import SupertileError
from .streams import tolerant_streams

if TYPE_CHECKING:
    pass

FAILED, USAGE, INCOMPLETE, INTERRUPTED = 1, 2, 3, 130
TERMINATED = 128  # plus the number of the signal, as shells count
INTERRUPTED_SENTENCE = "Interrupted; finished files are kept."


@contextmanager
def termination_cleans_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, removing half-written files first.

    On Windows SIGBREAK does so, which stands for Ctrl-Break, a window that is closed, and the end of the session.
    """
    signals = [signal.SIGTERM]
    if sys.platform == "win32":
        signals.append(signal.SIGBREAK)
    # Under nohup, a terminal that closes is no reason to stop.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)

    def stop(number: int, _: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # a second one must not interrupt the cleaning
        raise SystemExit(TERMINATED + number)

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def errors_as_sentences(debug: bool, *, stdout_is_the_result: bool = True) -> Iterator[None]:
    """Turn errors into one sentence on stderr and an exit code. With `debug` they are raised, with their traceback.

    Standard output that cannot be written is an error too if it is the result of the command, else a warning. Nothing
    is said of a reader that has closed it.
    """
    with tolerant_streams() as stdout:
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
            raise _failure(error_sentence(error), FAILED) from None
        finally:
            lost = stdout.failure is not None and stdout.failure.errno not in (errno.EPIPE, None)
            if lost and not stdout_is_the_result:
                say(Console(stderr=True), f"Warning: {_stdout_sentence(stdout.failure)}")
        if lost and stdout_is_the_result:
            raise _failure(_stdout_sentence(stdout.failure), FAILED)


def _stdout_sentence(error: OSError | None) -> str:
    return f"Standard output cannot be written ({error.strerror if error else 'closed'})."


def error_sentence(error: Exception, source: Path | None = None) -> str:
    """Return one line about an error; one that is not Supertile's own gets its type, and the name of the file."""
    if isinstance(error, SupertileError):
        return str(error)
    words = " ".join(str(error).split())
    sentence = f"Unexpected {type(error).__name__}: {words} (run the command again with --debug to see where)"
    return sentence if source is None else f"{source}: {sentence}"


def show_traceback(console: Console, error: Exception) -> None:
    """Print where an error was raised."""
    say(console, "".join(traceback.format_exception(error)).rstrip())


def _failure(sentence: str, exit_code: int) -> typer.Exit:
    say(Console(stderr=True), sentence)
    return typer.Exit(exit_code)


def say(console: Console, sentence: str) -> None:
    """Print one line, not wrapped even on a narrow terminal, without tearing a progress bar."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def warnings_once(console: Console, also: Callable[[str], None] | None = None) -> Iterator[None]:
    """Print each of our warnings once, as a sentence on stderr. Those of other libraries need `python -W`.

    `also` is called with each sentence that is printed.
    """
    from ..images.io.warned import warned

    def tell(sentence: str) -> None:
        say(console, f"Warning: {sentence}")
        if also is not None:
            also(sentence)

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        with warned(tell):
            yield
