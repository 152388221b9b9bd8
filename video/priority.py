"""Encoders in the background of the network: on a machine without a GPU both want every core.

A network on the CPU is hundreds of short parallel steps, each of which ends when its last thread does. Where an
encoder's threads hold a core meanwhile, all others wait for the one thread that was put off, at every step: 320x180
doubled on two loaded cores took up to three times as long. At a lower priority the encoder uses what is left, and
gets all it needs as soon as frames wait for it.
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
    """Of the calling thread and those it starts from now on. On Linux only: elsewhere the process as a whole has it."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def in_background(make: Callable[[], T], undo: Callable[[T], None]) -> T:
    """`make()`, in a thread of low priority, so that the threads it starts have it too.

    Raises what `make` raises. When the wait is interrupted, `undo` gets what was made.
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
