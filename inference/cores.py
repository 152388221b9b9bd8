"""Use the processor's cores that other programs leave.

A network on a CPU is hundreds of short operations, each shared by all threads, and each ends with its last thread. If
another program occupies the core of one thread, all wait for it, and spin meanwhile: beside two busy programs VapSR
took 4 to 40 times as long as alone. So while others are busy, there are as many threads as they leave cores, but at
least half, and threads that wait sleep. All of this is Linux only; elsewhere PyTorch's own number of threads stays.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .barriers import sleep_at_barriers

INTERVAL_S = 0.25
"""Least time between two looks at the load, so that the system's ticks of 10 ms are fine enough."""

BUSY_CORES = 0.5
"""Other programs are busy if they use as much, and ..."""

WAITING_SHARE = 0.1
"""... if this program's thread, ready to run, waited that long for a core. Programs of low priority do not matter."""

FIRST_TRIAL_S, LONGEST_TRIAL_S = 3.0, 60.0
"""When to try all threads again although others are busy; the time doubles after each trial in vain."""


class Cores:
    """The number of threads that compute, one for all upscalers of this process.

    Attributes:
        threads: how many compute now; None: as many as PyTorch chooses.
    """

    def __init__(self, load: Load | None = None) -> None:
        self.threads: int | None = None
        self._load = load or Load()
        self._lock = threading.Lock()
        self._trial_at, self._trial_after = 0.0, FIRST_TRIAL_S

    def look(self, most: int) -> None:
        """Decide anew, if the last decision is old enough.

        Args:
            most: how many threads there are where nobody else is busy.
        """
        now = time.monotonic()
        with self._lock:
            measured = self._load.measure(now)
            if measured is None:
                return
            others, waiting = measured
            is_busy = others >= BUSY_CORES
            if self.threads is None and is_busy and waiting >= WAITING_SHARE:
                left = round(len(self._load.cores) - others)
                self.threads = min(max(left, (most + 1) // 2), most)
                self._trial_at = now + self._trial_after
                sleep_at_barriers(True)
            elif self.threads is not None and is_busy and now >= self._trial_at:
                self.threads = None  # threads still sleep at barriers
                self._trial_after = min(2 * self._trial_after, LONGEST_TRIAL_S)
            elif not is_busy or self.threads is None:
                self.threads, self._trial_after = None, FIRST_TRIAL_S
                sleep_at_barriers(False)

    @contextmanager
    def shared(self, threads: int | None = None) -> Iterator[Callable[[], None]]:
        """Let the calling thread compute with as many threads as are right now, and then with as many as before.

        Args:
            threads: so many, whatever other programs do.

        Yields:
            A function that decides anew.
        """
        before = torch.get_num_threads()

        def adapt() -> None:
            self.look(threads or before)
            given = threads or ("OMP_NUM_THREADS" in os.environ and before)
            chosen = given or self.threads or before
            if chosen != torch.get_num_threads():
                torch.set_num_threads(chosen)

        adapt()
        try:
            yield adapt
        finally:
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)


class Load:
    """Measures what other programs do.

    Attributes:
        cores: the numbers of the cores that this process may use.
    """

    def __init__(self) -> None:
        self.cores: set[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._at = time.monotonic()
        self._before = self._read()

    def measure(self, now: float) -> tuple[float, float] | None:
        """Return the cores that others have kept busy, and the share of time that the calling thread waited for one.

        None: the last look is too recent, or the system does not tell.
        """
        elapsed = now - self._at
        if self._before is None or elapsed < INTERVAL_S:
            return None
        current = self._read()
        if current is None:
            return None
        busy, own, thread, running, waiting = (a - b for a, b in zip(current, self._before, strict=True))
        self._at, self._before = now, current
        if thread:  # another thread than the last time
            return None
        return (busy - own) / elapsed, waiting / (running + waiting) if waiting else 0.0

    def _read(self) -> tuple[float, ...] | None:
        """Return seconds of all cores and of this process, the thread's number, and its seconds on and off a core."""
        try:
            busy = 0
            for line in Path("/proc/stat").read_text().splitlines():
                name, *ticks = line.split()
                if name[3:].isdigit() and int(name[3:]) in self.cores:
                    user, nice, system, _, _, irq, softirq, *_ = map(int, ticks)
                    busy += user + nice + system + irq + softirq
            running, waiting, _ = map(int, Path("/proc/thread-self/schedstat").read_text().split())
        except (OSError, ValueError):
            return None
        busy_s = busy / os.sysconf("SC_CLK_TCK")
        return busy_s, time.process_time(), threading.get_native_id(), running / 1e9, waiting / 1e9


CORES = Cores()
"""Of this process."""
