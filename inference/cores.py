"""Use the processor's cores that other programs leave.

A network on a CPU is hundreds of short operations, each shared by all threads, and each ends with its last thread. If
another program occupies the core of one thread, all wait for it, and spin meanwhile: beside two busy programs VapSR
took 4 to 40 times as long as alone. So while others are busy, threads that wait sleep, and either as many compute as
others leave cores, but at least half, or all, where others wait for cores as well gathered on half of them: whichever
is measured to be faster, because it depends on how the system shares its time. All of this is Linux only; elsewhere
PyTorch's own number of threads stays.
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
from .gathering import can_gather, gather, spread

INTERVAL_S = 0.25
"""Least time between two looks at the load, so that the system's ticks of 10 ms are fine enough."""

BUSY_CORES = 0.5
"""Other programs are busy if they use as much, and ..."""

WAITING_SHARE = 0.1
"""... if this program's thread, ready to run, waited that long for a core. Programs of low priority do not matter."""

GAIN = 1.15
"""How many times as fast more threads must be as fewer, to stay."""

PATIENCE = 2
"""How many looks threads may be slower where they are gathered: until the system has moved other programs away."""

LONGEST_SPIN_S = 0.03
"""How long OpenMP's threads may spin after a program has computed: 300,000 times a pause of 40 to 140 cycles."""

FIRST_TRIAL_S, LONGEST_TRIAL_S = 3.0, 60.0
"""When to try more threads again although others are busy; the time doubles after each trial that ends."""


class Cores:
    """The number of threads that compute, one for all upscalers of this process.

    Attributes:
        threads: how many compute now; None: as many as PyTorch chooses.
        gathered: on how many cores they are gathered; None: on none in particular.
    """

    def __init__(self, load: Load | None = None) -> None:
        self.threads: int | None = None
        self.gathered: int | None = None
        self._load = load or Load()
        self._lock = threading.Lock()
        self._gives_way = False
        self._trial_at, self._trial_after = 0.0, FIRST_TRIAL_S
        self._tried_at, self._rate_of_fewer, self._slow_looks = 0.0, 0.0, 0
        self._ended, self._has_rested = 0.0, False

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
            others, waiting, running = measured
            rate = running * (self.threads or most)
            has_rested, self._has_rested = self._has_rested, False
            if has_rested and others >= BUSY_CORES and not self._load.others_run():
                others = 0.0  # they were busy while this program rested
            fewer = min(max(round(len(self._load.cores) - others), (most + 1) // 2), most)
            if others < BUSY_CORES or (self.threads is None and waiting < WAITING_SHARE):
                self.threads, self.gathered, self._gives_way = None, None, False
            elif not self._gives_way:
                self.threads, self._gives_way = fewer, True
                self._trial_at, self._trial_after = now, FIRST_TRIAL_S
            elif has_rested:
                pass  # nothing was computed for a part of the time, so the rate says nothing
            elif self.threads is None or self.gathered:
                self._slow_looks = self._slow_looks + 1 if rate < GAIN * self._rate_of_fewer else 0
                if self._slow_looks > (PATIENCE if self.gathered else 0):
                    if self.gathered and now - self._tried_at > FIRST_TRIAL_S:  # it was worth it until now
                        self._trial_after = FIRST_TRIAL_S
                    self.threads, self.gathered = fewer, None
                    self._trial_at = now + self._trial_after
                    self._trial_after = min(2 * self._trial_after, LONGEST_TRIAL_S)
            else:
                self._rate_of_fewer = rate
                if now >= self._trial_at:  # threads still sleep at barriers
                    self._tried_at, self._slow_looks = now, 0
                    self._try_more(most, waiting)
            sleep_at_barriers(self._gives_way)

    def _try_more(self, most: int, waiting: float) -> None:
        assert self.threads is not None
        of_a_core = most // self.threads
        if waiting >= WAITING_SHARE and of_a_core > 1 and can_gather():
            self.gathered, self.threads = self.threads, of_a_core * self.threads
        else:
            self.threads = None

    @contextmanager
    def shared(self, threads: int | None = None) -> Iterator[Callable[[], None]]:
        """Let the calling thread compute with as many threads as are right now, and then with as many as before.

        Args:
            threads: so many, whatever other programs do.

        Yields:
            A function that decides anew, to be called as often as one likes.
        """
        before = torch.get_num_threads()
        gathered, spread_on = None, set[int]()
        self._has_rested |= time.monotonic() - self._ended > INTERVAL_S / 5

        def use(number: int, cores: int | None) -> None:
            nonlocal gathered, spread_on
            if gathered is not None and (number, cores) != (torch.get_num_threads(), gathered):
                spread(spread_on)
                gathered = None
            if number != torch.get_num_threads():
                torch.set_num_threads(number)
            if cores != gathered:
                gathered, spread_on = cores, gather(cores)

        due = 0.0

        def adapt() -> None:
            nonlocal due
            if (now := time.monotonic()) < due:  # a pass may ask thousands of times
                return
            due = now + INTERVAL_S / 5
            self.look(threads or before)
            given = threads or ("OMP_NUM_THREADS" in os.environ and before)
            use(given or self.threads or before, None if given else self.gathered)

        adapt()
        try:
            yield adapt
        finally:
            self._ended = time.monotonic()
            use(before, None)


class Load:
    """Measures what other programs do.

    Attributes:
        cores: the numbers of the cores that this process may use.
    """

    def __init__(self) -> None:
        self.cores: set[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._at = time.monotonic()
        self._before = self._read()

    def measure(self, now: float) -> tuple[float, float, float] | None:
        """Return what was measured since the last look.

        Returns:
            The cores that others have kept busy, how much of its time on or waiting for a core the calling thread
            waited, and how much of all time it was on one. It computes its share of the work and sleeps until the other
            threads have done theirs, so the last, times the number of threads, is how fast all compute. None if the
            last look is too recent, or the system does not tell.
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
        return (busy - own) / elapsed, waiting / (running + waiting) if waiting else 0.0, running / elapsed

    def others_run(self) -> bool:
        """Return whether other threads than the calling one run now, and longer than those of OpenMP may spin.

        So a program that has just computed does not count.
        """
        end = time.monotonic() + LONGEST_SPIN_S
        while (running := _running_threads()) is None or running > 1:
            if running is None or time.monotonic() >= end:
                return True
            time.sleep(LONGEST_SPIN_S / 8)
        return False

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


def _running_threads() -> int | None:
    """Return how many threads of the system run or are ready to; None if it does not tell."""
    try:
        running, _, _ = Path("/proc/loadavg").read_text().split()[3].partition("/")
        return int(running)
    except (OSError, ValueError, IndexError):
        return None


CORES = Cores()
"""Of this process."""
