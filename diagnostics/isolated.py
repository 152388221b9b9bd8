"""Run a check in a process of its own, so that one that crashes or hangs costs only itself.

A kernel that was compiled for other instructions, or a driver that is broken, ends the process instead of raising.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..errors import SupertileError

_CHECK_S = 5.0


class EndedError(SupertileError):
    """A check has ended before it was done; `str()` says why."""


class TooSlowError(EndedError):
    """A check was ended because it took too long."""


def isolated(function: Callable[..., Iterable[Any]], *arguments: Any, limit_s: float) -> Iterator[Any]:
    """Yield what a function yields that runs in a new process.

    Args:
        function: of a module, returns or yields what can be pickled.
        arguments: for it.
        limit_s: seconds after which it is ended, its imports included.

    Raises:
        EndedError: it raised or crashed.
        TooSlowError: it took too long.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(there, function, arguments), daemon=True)
    deadline = time.monotonic() + limit_s
    process.start()
    there.close()
    try:
        while True:
            if not here.poll(max(deadline - time.monotonic(), 0)):
                raise TooSlowError(f"it took longer than {limit_s:.0f} s")
            try:
                kind, value = here.recv()
            except (EOFError, OSError):
                process.join(_CHECK_S)
                raise EndedError(_reason(process.exitcode)) from None
            if kind == "failed":
                raise EndedError(value)
            if kind == "done":
                return
            yield value
    finally:
        here.close()
        process.kill()
        process.join()


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"


def _serve(pipe: Connection, function: Callable[..., Iterable[Any]], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    warnings.simplefilter("ignore")
    try:
        for value in function(*arguments):
            pipe.send(("value", value))
        pipe.send(("done", None))
    except BrokenPipeError:
        return
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        pipe.send(("failed", reason if isinstance(error, SupertileError) else f"{type(error).__name__}: {reason}"))
