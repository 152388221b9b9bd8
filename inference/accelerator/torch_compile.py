"""Run batches of tiles of one shape through torch.compile where that saves time, and eagerly where it fails.

Compiling takes from half a minute to many minutes, so it is never begun for an image or two. "auto" begins once batches
of one shape have taken a minute, or are known to take one: a job that has run for a minute will likely run for another.
So at worst the work takes about twice as long.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ...arch.network import Network
from .. import precision as precisions
from ..errors import is_out_of_memory

log = logging.getLogger(__name__)

T = TypeVar("T")

CHOICES = ("off", "auto", "on", "verified")

MIN_SECONDS = 60.0
"""Seconds that batches of one shape, computed and to come, must take before "auto" compiles for them."""

MIN_BATCHES_TIMED = 16
"""Batches of a shape that are timed before the time of the others is estimated."""

MAX_SHAPES = 4
"""Shapes that are compiled for one Upscaler. Otherwise images of many sizes would each wait for the compiler."""

_STACK_BYTES = 128 << 20
"""The tracer follows strips from the last stage back to the first, several frames deep for each."""

_RECURSION_LIMIT = 20_000
"""Published networks need 3,000 to 6,000 frames, and Python's default is 1,000."""


@dataclass
class _Timing:
    """How many batches of one shape there were, and how long they took."""

    batches: int = 0
    seconds: float = 0.0


class Compiler:
    """The batches of one network through torch.compile.

    Args:
        network: the model in its precision on the device.
        choice: one of CHOICES.
        device: where it computes.
        place: makes a context in which another thread computes on this thread's device and stream.
        clock: returns seconds.
    """

    def __init__(
        self,
        network: ImageModelDescriptor,
        choice: str,
        device: torch.device,
        *,
        place: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network, self._place, self._clock = network, place, clock
        self._always = choice == "on"
        self._possible = precisions.is_ours(network.model) and (self._always or self._may_pay(choice, device))
        if self._always and not self._possible:
            log.warning("Only HAT, VapSR and HiT-SR can be compiled; this network runs without torch.compile.")
        self._timings: dict[torch.Size, _Timing] = {}
        self._last: tuple[torch.Size, float] | None = None
        self._shapes: set[torch.Size] = set()
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def _may_pay(self, choice: str, device: torch.device) -> bool:
        there = device.type == "cuda" and importlib.util.find_spec("triton") is not None
        return choice == "auto" and there and self._compiles()

    def _compiles(self) -> bool:
        model = self._network.model
        return isinstance(model, Network) and model.compiles

    def begin(self) -> None:
        """Start a stream of images: the time since the last one was not spent on batches."""
        self._last = None

    def wants(self, shape: torch.Size, coming: int) -> bool:
        """Return whether a batch of this shape should be compiled. To be called for every batch.

        Args:
            shape: of the batch.
            coming: how many more batches of this shape are known.
        """
        if not self._possible:
            return False
        if shape in self._shapes:
            return True
        return len(self._shapes) < MAX_SHAPES and (self._always or self._saves_time(shape, coming))

    def _saves_time(self, shape: torch.Size, coming: int) -> bool:
        now = self._clock()
        if self._last is not None:
            last_shape, started = self._last
            self._timings[last_shape].seconds += now - started
        timing = self._timings.setdefault(shape, _Timing())
        timing.batches += 1
        self._last = shape, now
        timed = timing.batches - 1
        return timed >= MIN_BATCHES_TIMED and timing.seconds * (1 + coming / timed) >= MIN_SECONDS

    def shapes(self) -> list[torch.Size]:
        return list(self._shapes)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the network's output. Raises what the network raises eagerly, and out-of-memory errors."""
        if not self._possible:
            return precisions.run(self._network, batch)
        try:
            if batch.shape in self._shapes:
                assert self._compiled is not None
                return self._compiled(batch)
            eager = precisions.run(self._network, batch)  # also computes the network's cached tables
            output = self._first(batch)
            same = precisions.agree(output, eager)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return self._give_up(batch, str(error).strip().partition("\n")[0] or type(error).__name__)
        if same is False:
            return self._give_up(batch, "its result differs")
        self._shapes.add(batch.shape)
        return output

    def forget(self) -> None:
        """Drop what was compiled, because it may hold tables made from weights that have changed."""
        self._shapes.clear()
        self._compiled = None

    def _first(self, batch: Tensor) -> Tensor:
        if self._compiled is None:
            self._compiled = _inference(torch.compile(self._network.model.forward, dynamic=False, fullgraph=True))
        log.info("Compiling the network for batches of %s.", tuple(batch.shape))
        compiled, place = self._compiled, self._place()

        def call() -> Tensor:
            with place, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler recommends TF32; see precision.py
                return compiled(batch)

        return _in_deep_thread(call)

    def _give_up(self, batch: Tensor, reason: str) -> Tensor:
        log.warning("torch.compile cannot be used (%s); the network runs without it.", reason)
        self._possible = False
        self.forget()
        return precisions.run(self._network, batch)


def _inference(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(batch)

    return run


def _in_deep_thread(call: Callable[[], T]) -> T:
    """Return `call()`, made in a thread whose stack allows deep recursion. Raises what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    size, depth = threading.stack_size(_STACK_BYTES), sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(max(depth, _RECURSION_LIMIT))
        thread = threading.Thread(target=work, name="supertile-compile", daemon=True)
        thread.start()
        threading.stack_size(size)
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(depth)
    if errors:
        raise errors[0]
    return results[0]
