"""The tasks of a run: which worker gets which, and which are given to a second worker because the first is slow."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic

from ..pool import T

_DURATIONS = 101  # that the median is taken of


class Ticket(Generic[T]):
    """A task that has been taken from the queue.

    Attributes:
        task: the task.
        done: True once there is a result.
        workers: that compute it, and since when.
        deaths: how many workers have died of it.
    """

    def __init__(self, task: T) -> None:
        self.task, self.done, self.deaths = task, False, 0
        self.workers: dict[Hashable, float] = {}


class TaskQueue(Generic[T]):
    """Tasks, taken from an iterable as late as possible.

    Args:
        tasks: all of them.
        patience: a task is slow when it takes this many times the median of those that are done.
        clock: returns seconds.
    """

    def __init__(self, tasks: Iterable[T], patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._tasks, self._patience, self._clock = iter(tasks), patience, clock
        self._waiting: deque[Ticket[T]] = deque()
        self._running: dict[int, Ticket[T]] = {}  # by id
        self._durations: deque[float] = deque(maxlen=_DURATIONS)

    @property
    def empty(self) -> bool:
        """True when all tasks are done."""
        if not self._running and not self._waiting:
            self._waiting.extend(Ticket(task) for task in self._next())
        return not self._running and not self._waiting

    def take(self) -> Ticket[T] | None:
        """Return a task for an idle worker: one that lost its worker, the next one, or one that is slow."""
        if self._waiting:
            return self._waiting.popleft()
        for task in self._next():
            return Ticket(task)
        return self._slowest()

    def begin(self, ticket: Ticket[T], worker: Hashable) -> None:
        """Note that a worker computes a task."""
        ticket.workers[worker] = self._clock()
        self._running[id(ticket)] = ticket

    def leave(self, ticket: Ticket[T], worker: Hashable, *, finished: bool = False) -> None:
        """Note that a worker has ended a task; `finished`: with a result."""
        began = ticket.workers.pop(worker)
        if finished:
            self._durations.append(self._clock() - began)
            ticket.done = True
        if ticket.done:
            self._running.pop(id(ticket), None)

    def put_back(self, ticket: Ticket[T]) -> None:
        """Let a task be taken again, unless a worker still computes it."""
        if not ticket.workers:
            self._running.pop(id(ticket), None)
            self._waiting.append(ticket)

    def _next(self) -> list[T]:
        for task in self._tasks:
            return [task]
        return []

    def _slowest(self) -> Ticket[T] | None:
        """Return the task that has been computed by one worker for longest, if that is too long."""
        if not self._durations:
            return None
        now, limit = self._clock(), self._patience * statistics.median(self._durations)
        single = [ticket for ticket in self._running.values() if len(ticket.workers) == 1]
        ages = [(now - min(ticket.workers.values()), index) for index, ticket in enumerate(single)]
        age, index = max(ages, default=(0.0, 0))
        return single[index] if age > limit else None
