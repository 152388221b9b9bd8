"""Run encoders at a lower priority than the network, for machines without a GPU, and never in real time.

A network on the CPU is hundreds of short parallel steps, and each ends with its last thread. If an encoder's thread
occupies a core, all other threads wait for the delayed one, at every step: 2x of 320x180 on two loaded cores took up to
three times as long. At a lower priority the encoder uses idle time, and catches up as soon as the network waits for it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_NICE = 10


def lower_priority() -> None:
    """Lower the priority of the calling thread and of its future threads. Linux only; elsewhere it is per process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


@contextmanager
def not_in_real_time() -> Iterator[None]:
    """Take threads back out of real-time scheduling into which the block has put them.

    As root, as in most containers, SVT-AV1 does so with the thread that opens it and with its own; while they compute,
    no other program gets a core. Where the caller chose real time, nothing is changed.
    """
    real_time = {os.SCHED_FIFO, os.SCHED_RR} if sys.platform == "linux" else set()
    if not real_time or os.sched_getscheduler(0) in real_time:
        yield
        return
    try:
        yield
    finally:
        for name in os.listdir("/proc/self/task"):
            with suppress(OSError):  # the thread has ended, or the system does not let us
                if os.sched_getscheduler(int(name)) in real_time:
                    os.sched_setscheduler(int(name), os.SCHED_OTHER, os.sched_param(0))


def in_background(work: Callable[[], None]) -> None:
    """Run `work` in a thread of low priority, so that the threads it starts inherit it, and wait for its end.

    Exceptions of `work` are raised here. If the wait is interrupted, the interruption is raised after its end.
    """
    failed: list[BaseException] = []

    def guarded() -> None:
        lower_priority()
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded, name="supertile-open")
    thread.start()
    try:
        thread.join()
    except BaseException:
        thread.join()
        raise
    if failed:
        raise failed[0]
