"""A child with every fault that the fuzzer must see, each a kind of file; test_fuzz.py runs it."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

from supertile import SupertileError
from supertile.tests.fuzz.serve import UnreadableResultError, serve


def _done(path: Path, target: Path) -> None:
    target.touch()


def _refused(path: Path, target: Path) -> None:
    raise SupertileError("refused")


def _nothing_written(path: Path, target: Path) -> None:
    pass


def _part_left(path: Path, target: Path) -> None:
    target.with_name(f".{target.name}.part").touch()
    raise SupertileError("refused")


def _target_left(path: Path, target: Path) -> None:
    target.touch()
    raise SupertileError("refused")


def _temporary_left(path: Path, target: Path) -> None:
    Path(os.environ["TMPDIR"], "left").mkdir()
    target.touch()


def _value_error(path: Path, target: Path) -> None:
    raise ValueError("not ours")


def _exit(path: Path, target: Path) -> None:
    raise SystemExit(3)


def _unreadable_result(path: Path, target: Path) -> None:
    raise UnreadableResultError("not a picture")


def _segmentation_fault(path: Path, target: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _exit_at_once(path: Path, target: Path) -> None:
    os._exit(0)


def _hang(path: Path, target: Path) -> None:
    time.sleep(3600)


def _memory_for_a_moment(path: Path, target: Path) -> None:
    _take(300 << 20)
    target.touch()


def _memory_without_end(path: Path, target: Path) -> None:
    held = []
    while True:
        held.append(_take(1 << 20))


def _take(count: int) -> bytes:
    return b"x" * count  # not zeros, which the system only promises


def _unpickle(path: Path, target: Path) -> None:
    content = path.read_bytes()
    try:
        pickle.loads(content[: content.index(b".") + 1])
    finally:
        raise SupertileError("refused")


def _shell(path: Path, target: Path) -> None:
    os.system("true")
    target.touch()


FAULTS = {
    "done": _done,
    "refused": _refused,
    "wrong exception": _value_error,
    "wrong exception: exit": _exit,
    "unreadable result": _unreadable_result,
    "crash": _segmentation_fault,
    "crash: exit without a word": _exit_at_once,
    "hang": _hang,
    "memory": _memory_for_a_moment,
    "memory: without end": _memory_without_end,
    "code run": _unpickle,
    "code run: a shell": _shell,
    "left behind": _part_left,
    "left behind: target": _target_left,
    "left behind: temporary": _temporary_left,
    "left behind: nothing": _nothing_written,
}
"""Kind of file -> what is done with it; the kind begins with the outcome that it is."""

if __name__ == "__main__":
    serve(FAULTS)
