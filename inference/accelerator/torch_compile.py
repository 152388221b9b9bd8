"""torch.compile for batches of tiles of one shape: when it pays, and the plain network wherever it fails.

Compiling takes from half a minute to many. It is never begun for an image or two: "auto" begins where it has computed
batches of one shape for a minute, or knows of that many, because who has waited a minute will likely wait for another.
So it costs at most about as much again as has been done without it.
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

CHOICES = ("off", "auto", "on")

PAYS = 60.0  # seconds of batches of one shape, computed and to come
LEAST = 16  # of them, before the others can be estimated

MOST_SHAPES = 4
"""That are compiled for one Upscaler. Images of many sizes would otherwise each wait for a compiler."""

_STACK = 128 << 20  # bytes; a tracer follows a network's strips from the last back to the first, some frames for each
_DEPTH = 20_000  # frames; the published networks need 3,000 to 6,000 of the 1,000 that Python allows


@dataclass
class _Work:
    """Batches of one shape: how many there were and how long they took."""

    batches: int = 0
    seconds: float = 0.0


class Compiler:
    """One network's batches through torch.compile.

    choice: one of CHOICES. place: gives what other threads enter to compute where this one does.
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
            log.warning("Only HAT, VapSR and HiT-SR are compiled; this network runs as it is.")
        self._work: dict[torch.Size, _Work] = {}
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
        """Another stream of images: what was between it and the last one was no work."""
        self._last = None

    def wants(self, shape: torch.Size, coming: int) -> bool:
        """Whether a batch of this shape is to be compiled; `coming` more of them are known. Asked for every batch."""
        if not self._possible:
            return False
        if shape in self._shapes:
            return True
        return len(self._shapes) < MOST_SHAPES and (self._always or self._pays(shape, coming))

    def _pays(self, shape: torch.Size, coming: int) -> bool:
        now = self._clock()
        if self._last is not None:
            before, then = self._last
            self._work[before].seconds += now - then
        work = self._work.setdefault(shape, _Work())
        work.batches += 1
        self._last = shape, now
        done = work.batches - 1
        return done >= LEAST and work.seconds * (1 + coming / done) >= PAYS

    def shapes(self) -> list[torch.Size]:
        return list(self._shapes)

    def __call__(self, batch: Tensor) -> Tensor:
        """The network's output. Raises what the plain network raises, and what says that memory is short."""
        if not self._possible:
            return precisions.run(self._network, batch)
        try:
            if batch.shape in self._shapes:
                assert self._compiled is not None
                return self._compiled(batch)
            plain = precisions.run(self._network, batch)  # with it, tables that networks keep are there
            output = self._first(batch)
            same = precisions.agree(output, plain)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return self._give_up(batch, str(error).strip().partition("\n")[0] or type(error).__name__)
        if same is False:
            return self._give_up(batch, "its result differs")
        self._shapes.add(batch.shape)
        return output

    def forget(self) -> None:
        """The weights are others: what was compiled may hold tables made of the old ones."""
        self._shapes.clear()
        self._compiled = None

    def _first(self, batch: Tensor) -> Tensor:
        if self._compiled is None:
            self._compiled = _inference(torch.compile(self._network.model.forward, dynamic=False, fullgraph=True))
        log.info("Compiling the network for batches of %s.", tuple(batch.shape))
        compiled, place = self._compiled, self._place()

        def call() -> Tensor:
            with place, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a compiler thinks of TF32 is stated in precision.py
                return compiled(batch)

        return _in_deep_thread(call)

    def _give_up(self, batch: Tensor, reason: str) -> Tensor:
        log.warning("torch.compile cannot be used (%s); going on without it.", reason)
        self._possible = False
        self.forget()
        return precisions.run(self._network, batch)


def _inference(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(batch)

    return run


def _in_deep_thread(call: Callable[[], T]) -> T:
    """`call` in a thread with room for deep recursion, which the caller's may not have. Raises what it raises."""
    found: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            errors.append(error)

    size, depth = threading.stack_size(_STACK), sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(max(depth, _DEPTH))
        thread = threading.Thread(target=work, name="supertile-compile", daemon=True)
        thread.start()
        threading.stack_size(size)
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(depth)
    if errors:
        raise errors[0]
    return found[0]
