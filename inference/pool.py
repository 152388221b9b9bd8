"""Several devices share one job: a process for each, which take tasks from one queue.

A task is computed by a function of an upscaler. When the process that computes it dies, another one takes the task; a
task that kills three is given up. Exceptions of the function are passed on.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import torch

from .errors import Cancelled, UpscaleError
from .spec import UpscalerSpec
from .upscaler import Upscaler, choose_device

T = TypeVar("T")

MAX_ATTEMPTS = 3
_STOP_TIMEOUT_S = 10

# (upscaler, task, report, cancelled) -> result; `report` sends any value to the parent.
Work = Callable[[Upscaler, T, Callable[[Any], None], Callable[[], bool]], Any]


@dataclass(frozen=True)
class Event(Generic[T]):
    """News of a task.

    Attributes:
        kind: "report", "finished", "failed" or "lost" (its process died, and the task will be tried again).
        task: the task.
        device: that computes it.
        value: what was reported, the result, or the exception.
    """

    kind: str
    task: T
    device: str
    value: Any = None


def device_names(text: str) -> list[str]:
    """Return the devices that "cuda:0,cuda:1", "cpu,cpu" or "all" names. Raises UpscaleError."""
    if text.strip() == "all":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or [str(choose_device("auto"))]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        choose_device(name)
    return names


class UpscalerPool:
    """Processes with a model on a device each.

    Args:
        spec: of the upscaler, with a precision that all devices share.
        devices: one for each process; a device may be named twice.

    A process is started when it gets its first task. Use as a context manager, or call `close`.
    """

    def __init__(self, spec: UpscalerSpec, devices: Sequence[str]) -> None:
        if not devices:
            raise UpscaleError("name at least one device")
        self.spec, self.devices = spec, list(devices)
        threads = max(1, (os.cpu_count() or 1) // sum(device == "cpu" for device in devices)) if "cpu" in devices else 0
        self._workers = [
            _Worker(spec, device, label, threads if device == "cpu" else 0)
            for device, label in zip(devices, _labels(devices), strict=True)
        ]

    def run(
        self, work: Work[T], tasks: Iterable[T], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Event[T]]:
        """Compute all tasks, each by the next process that is free, and yield what happens.

        Args:
            work: a function of a module's top level.
            tasks: picklable; taken as late as possible.
            cancelled: called ten times a second; when it returns True, `Cancelled` is raised.

        Raises:
            Cancelled: `cancelled` returned True.
            UpscaleError: a process cannot load the model.
        """
        queue = iter(tasks)
        again: deque[tuple[T, int]] = deque()
        attempts: dict[_Worker, int] = {}
        try:
            while True:
                for worker in self._workers:
                    if worker.task is None:
                        task, attempt = again.popleft() if again else (next(queue, None), 1)
                        if task is None:
                            break
                        attempts[worker] = attempt
                        worker.start_task(work, task)
                busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
                if not busy:
                    return
                for connection in wait(list(busy), timeout=0.1):
                    worker = busy[connection]  # type: ignore[index]
                    event = worker.receive()
                    if event.kind == "lost":
                        if attempts[worker] >= MAX_ATTEMPTS:
                            error = UpscaleError(f"The process on {worker.label} ended {MAX_ATTEMPTS} times.")
                            event = Event("failed", event.task, event.device, error)
                        else:
                            again.append((event.task, attempts[worker] + 1))
                    yield event
                if cancelled():
                    raise Cancelled("the upscaling was cancelled")
        finally:
            self._interrupt()

    def check_devices(
        self,
        work: Work[T],
        task: T,
        compare: Callable[[Event[T], Event[T]], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Let each process compute the same task, and compare the results.

        Args:
            work, task, cancelled: as in `run`.
            compare: called with the events of the first process and of another; raises an error if they differ.
        """
        if len(self.devices) < 2:
            return
        first: Event[T] | None = None
        for event in self.run(work, [task] * len(self.devices), cancelled=cancelled):
            if event.kind == "failed":
                raise event.value
            if event.kind == "finished" and first is not None:
                compare(first, event)
            elif event.kind == "finished":
                first = event

    def _interrupt(self) -> None:
        """Cancel the tasks that are still computed, and wait for their processes."""
        busy = [worker for worker in self._workers if worker.task is not None]
        for worker in busy:
            worker.interrupt()
        end = time.monotonic() + _STOP_TIMEOUT_S
        for worker in busy:
            worker.wait_until(end)

    def close(self) -> None:
        """End the processes."""
        self._interrupt()
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> UpscalerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _labels(devices: Sequence[str]) -> list[str]:
    """Return a name for each device; one that is named again gets a number."""
    return [
        f"{device} ({number})" if (number := devices[: index + 1].count(device)) > 1 else device
        for index, device in enumerate(devices)
    ]


class _Worker:
    """The parent's side of a process."""

    def __init__(self, spec: UpscalerSpec, device: str, label: str, threads: int) -> None:
        self.device, self.label = device, label
        self.task: Any = None
        self._spec, self._threads = spec, threads
        self._context = multiprocessing.get_context("spawn")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._cancel = self._context.Event()
        self.connection: Connection

    def start_task(self, work: Work[Any], task: Any) -> None:
        if self._process is None or not self._process.is_alive():
            self.connection, theirs = self._context.Pipe()
            self._cancel.clear()
            self._process = self._context.Process(
                target=_serve, args=(theirs, self._spec, self.device, self._threads, self._cancel), daemon=True
            )
            self._process.start()
            theirs.close()
        self.task = task
        with suppress(OSError):  # a process that has just died: `receive` finds out
            self.connection.send((work, task))

    def receive(self) -> Event[Any]:
        task = self.task
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self._end()
            self.task = None
            return Event("lost", task, self.label)
        if kind != "report":
            self.task = None
        if kind == "unusable":
            raise value
        return Event(kind, task, self.label, value)

    def interrupt(self) -> None:
        self._cancel.set()

    def wait_until(self, end: float) -> None:
        """Wait until the task has ended, at most until `end`; then kill the process."""
        while self.task is not None and (left := end - time.monotonic()) > 0:
            if self.connection.poll(left):
                with suppress(Exception):
                    self.receive()
        if self.task is not None:
            self._end()
            self.task = None
        self._cancel.clear()

    def close(self) -> None:
        if self._process is not None:
            with suppress(OSError):
                self.connection.send(None)
            self._process.join(_STOP_TIMEOUT_S)
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self.connection.close()


def _serve(connection: Connection, spec: UpscalerSpec, device: str, threads: int, cancel: Any) -> None:
    """Compute tasks until the parent closes the connection or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    if threads:
        torch.set_num_threads(threads)
    upscaler: Upscaler | None = None

    def report(value: Any) -> None:
        try:
            connection.send(("report", value))
        except OSError:
            raise SystemExit(1) from None  # the parent is gone

    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        if message is None:
            return
        work, task = message
        try:
            if upscaler is None:
                upscaler = spec.build(device)
        except Exception as error:
            connection.send(("unusable", portable(error)))
            continue
        try:
            result = ("finished", work(upscaler, task, report, cancel.is_set))
        except Exception as error:
            result = ("failed", portable(error))
        try:
            connection.send(result)
        except OSError:
            return


def portable(error: Exception) -> Exception:
    """Return an exception that can be sent to the parent."""
    with suppress(Exception):  # copying takes the same way as sending
        same = copy.copy(error)
        if type(same) is type(error) and str(same) == str(error):
            return error
    return UpscaleError(f"{type(error).__name__}: {error}")
