"""Run encoders at a lower priority than the network, for machines without a GPU.

A network on the CPU is hundreds of short parallel steps, and each ends with its last thread. If an encoder's thread
occupies a core, all other threads wait for the delayed one, at every step: 2x of 320x180 on two loaded cores took up to
three times as long. At a lower priority the encoder uses idle time, and catches up as soon as the network waits for it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_NICE = 10


def lower_priority() -> None:
    """Lower the priority of the calling thread and of its future threads. Linux only; elsewhere it is per process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def in_background(make: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Return `make()`, run in a thread of low priority, so that the threads it starts inherit it.

    Exceptions of `make` are raised here. If the wait is interrupted, `undo` is called with the result.
    """
    made: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        lower_priority()
        try:
            made.append(make())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="supertile-open")
    thread.start()
    try:
        thread.join()
    except BaseException:
        thread.join()
        for each in made:
            undo(each)
        raise
    if failed:
        raise failed[0]
    return made[0]
