"""Decode, upscale and encode at the same time: three stages joined by short queues, in order, first error wins.

The upscale stage runs in the caller's thread, where Ctrl-C arrives and progress is reported; the other two have a
thread each. When one stage fails or the job is cancelled, all three end: a stage that waits at a queue is woken at
once, a busy one finishes its frame.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from .priority import lower_priority

T = TypeVar("T")

STAGES = ("decode", "upscale", "encode")


@dataclass(frozen=True)
class StageTimes:
    """Seconds that each stage was busy, without waiting at queues, and seconds of the whole run."""

    total: float
    busy: dict[str, float]

    def share(self, stage: str) -> float:
        return self.busy[stage] / self.total if self.total else 0.0

    @property
    def bound_by(self) -> str:
        """The busiest stage, which limits the frame rate."""
        return max(self.busy, key=lambda stage: self.busy[stage])


class Stopped(Exception):
    """Raised at a queue when another stage has failed. Never reaches the caller."""


def run(
    frames: Iterable[T],
    upscale: Callable[[Iterator[T]], Generator[T, None, None]],
    write: Callable[[T], None],
    finish: Callable[[Callable[[], bool]], None],
    *,
    depth: int = 3,
    upscaled_depth: int | None = None,
    cancelled: Callable[[], None] | None = None,
) -> StageTimes:
    """Pull `frames` in one thread, `upscale` them in the caller's thread, and `write` the results in a third.

    Args:
        frames: iterated in the decode thread.
        upscale: a generator function from frames to as many frames.
        write: called in the encode thread, in order.
        finish: called in the encode thread after the last frame, with a function that returns True once the run stops.
        depth: maximum number of frames that wait between two stages.
        upscaled_depth: the same for those that wait to be written; None: `depth`.
        cancelled: called a few times a second, also while waiting. Raises to cancel the run.

    Returns:
        The time that each stage was busy, after `finish` has returned.

    Raises:
        Exception: that of the first stage that failed, after all threads have ended.
    """
    shared = _Run(cancelled)
    decoded: _Queue[T] = _Queue(shared, depth)
    upscaled: _Queue[T] = _Queue(shared, upscaled_depth or depth)

    def decode() -> None:
        for frame in frames:
            with shared.waiting("decode"):
                decoded.put(frame)
        decoded.close()

    def encode() -> None:
        lower_priority()
        while True:
            with shared.waiting("encode"):
                frame = upscaled.get()
            if frame is None:
                break
            write(frame)
            del frame  # free it before waiting for the next
        finish(lambda: shared.stopped)

    def waiting_frames() -> Iterator[T]:
        while True:
            with shared.waiting("upscale"):
                frame = decoded.get()
            if frame is None:
                return
            yield frame
            del frame

    threads = [shared.start("decode", decode), shared.start("encode", encode)]
    try:
        shared.begin("upscale")
        with closing(upscale(waiting_frames())) as results:
            for result in results:
                with shared.waiting("upscale"):
                    upscaled.put(result)
                del result
        upscaled.close()
        shared.end("upscale")
        while threads[1].is_alive():
            threads[1].join(0.1)
            shared.check()
    except BaseException as error:
        shared.fail(error)
    for thread in threads:
        thread.join()
    shared.raise_first()
    return StageTimes(time.perf_counter() - shared.started, shared.busy)


class _Run:
    """State shared by the stages of one run: the lock of the queues, the first error, and the busy times."""

    def __init__(self, cancelled: Callable[[], None] | None) -> None:
        self.condition = threading.Condition()
        self.stopped = False
        self.started = time.perf_counter()
        self.busy = dict.fromkeys(STAGES, 0.0)
        self._error: BaseException | None = None
        self._cancelled = cancelled
        self._caller = threading.get_ident()

    def start(self, stage: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                self.begin(stage)
                with torch.inference_mode():  # inference mode is per thread
                    work()
            except BaseException as error:
                self.fail(error)
            finally:
                self.end(stage)

        thread = threading.Thread(target=guarded, name=f"supertile-{stage}", daemon=True)
        thread.start()
        return thread

    def begin(self, stage: str) -> None:
        self.busy[stage] -= time.perf_counter()

    def end(self, stage: str) -> None:
        self.busy[stage] += time.perf_counter()

    @contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        self.end(stage)
        try:
            yield
        finally:
            self.begin(stage)

    def fail(self, error: BaseException) -> None:
        with self.condition:
            if self._error is None and not isinstance(error, Stopped):
                self._error = error
            self.stopped = True
            self.condition.notify_all()

    def check(self) -> None:
        """Call `cancelled` if this is the caller's thread."""
        if self._cancelled is not None and threading.get_ident() == self._caller:
            self._cancelled()

    def raise_first(self) -> None:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback keeps frames alive


class _Queue(Generic[T]):
    """A bounded queue whose waits end at once when the run stops. `get` returns None after `close`."""

    def __init__(self, run: _Run, depth: int) -> None:
        self._run, self._depth = run, depth
        self._items: deque[T] = deque()
        self._closed = False

    def put(self, item: T) -> None:
        self._wait_until(lambda: len(self._items) < self._depth)
        with self._run.condition:
            self._items.append(item)
            self._run.condition.notify_all()

    def get(self) -> T | None:
        self._wait_until(lambda: self._items or self._closed)
        with self._run.condition:
            item = self._items.popleft() if self._items else None
            self._run.condition.notify_all()
            return item

    def close(self) -> None:
        with self._run.condition:
            self._closed = True
            self._run.condition.notify_all()

    def _wait_until(self, ready: Callable[[], Any]) -> None:
        # Each queue has one producer and one consumer, so what is ready stays ready.
        while True:
            with self._run.condition:
                if self._run.stopped:
                    raise Stopped
                if ready():
                    return
                self._run.condition.wait(0.1)
            self._run.check()
