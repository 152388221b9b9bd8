"""The child's side: open files one after the other and say what became of each; a line of JSON in, one out.

In: {"kind": ..., "path": ..., "target": ...}. Out: {"outcome": ..., "detail": ..., "grown": bytes}, with the outcomes
of `run.Outcome`. A first, empty line is written once the process is ready.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from supertile import SupertileError

Opener = Callable[[Path, Path], None]
"""Opens a file and writes what it makes of it to the target."""

_SUSPICIOUS = frozenset({
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "subprocess.Popen", "socket.connect",
    "pickle.find_class", "shutil.rmtree",
})  # fmt: skip


class UnreadableResultError(Exception):
    """A result that another reader cannot read."""


def serve(openers: Mapping[str, Opener]) -> None:
    """Open files with `openers`, by kind, until the standard input ends.

    A crash, and the signal SIGUSR1, write the stacks of all threads to stderr.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    events: list[str] = []
    is_open = False

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if is_open and event in _SUSPICIOUS:
            events.append(event)

    sys.addaudithook(audit)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for libraries that print
    print(file=answers, flush=True)
    before = peak_bytes()
    for line in sys.stdin:
        job = json.loads(line)
        reset_peak()
        is_open = True
        try:
            openers[job["kind"]](Path(job["path"]), Path(job["target"]))
            outcome, detail = "done", ""
        except SupertileError as error:
            outcome, detail = "refused", str(error)
        except UnreadableResultError as error:
            outcome, detail = "unreadable result", str(error)
        except BaseException as error:
            outcome, detail = "wrong exception", "".join(traceback.format_exception(error))[-3000:]
        is_open = False
        if events:
            outcome, detail = "code run", ", ".join(events)
            events.clear()
        answer = {"outcome": outcome, "detail": detail, "grown": peak_bytes() - before}
        print(json.dumps(answer), file=answers, flush=True)


def peak_bytes() -> int:
    """Return the largest resident memory of this process since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> None:
    """Let `peak_bytes` begin with the present memory."""
    Path("/proc/self/clear_refs").write_text("5")
