"""A model on its device in its precision: batches of tiles and whole images through it.

What images they belong to, and what becomes of the results, is the business of stream.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..arch.network import Network
from ..arch.strips import StripPlan, between_steps
from . import memory
from . import precision as precisions
from .accelerator import cuda
from .accelerator.passes import Passes
from .accelerator.transfers import Downloads, InOrder
from .allocator import within
from .dihedral import TURNS

log = logging.getLogger(__name__)


class Engine:
    """Computes with `network`, the model in the precision that was chosen, and in fp32 where that is asked for.

    original: the model as it was given. compile: as of the Upscaler.
    """

    def __init__(
        self,
        original: ImageModelDescriptor,
        network: ImageModelDescriptor,
        device: torch.device,
        dtype: torch.dtype,
        *,
        self_ensemble: bool,
        compile: str,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.in_strips = precisions.is_ours(original.model)
        self._original, self._network = original, network
        self._self_ensemble = self_ensemble
        self._exact: ImageModelDescriptor | None = None
        self.passes = Passes(network, compile, device)
        self.pace: Callable[[], None] = cuda.Pace(device) if device.type == "cuda" else lambda: None

    def compute(self, batch: Tensor, coming: int = 0, *, exact: bool = False) -> Tensor:
        """(N, C, h, w) -> (N, C', sh, sw) fp32. coming: see `Passes`. exact: in fp32, whatever the precision."""
        if exact:
            network = self._exact_network()
            return self._turned(batch, lambda turned: precisions.run(network, turned))
        return self._turned(batch, lambda turned: self.passes(turned, coming))

    def _turned(self, batch: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        if not self._self_ensemble:
            return network(batch)
        total: Tensor | None = None
        for turn in TURNS:
            output = turn.back(network(turn.of(batch)))
            total = output.clone() if total is None else total.add_(output)
        assert total is not None
        return total.div_(len(TURNS))

    def _exact_network(self) -> ImageModelDescriptor:
        if self._exact is None:
            name = str(self.dtype).removeprefix("torch.")
            log.warning("The model's output in %s is not finite; such batches are computed in fp32.", name)
            self._exact = precisions.cast(self._original, torch.float32, self.device)
        return self._exact

    def fill(
        self,
        batch: Tensor,
        results: list[Tensor],
        tick: Callable[[float], None],
        *,
        rows: int | None = None,
        exact: bool = False,
        check: bool = False,
        down: Downloads | None = None,
    ) -> bool:
        """Whole images (N, C, h, w) into `results` (C', sh, sw) on any device, a few rows at a time.

        tick: called before every strip with the share of the work that is done; what it raises goes through.
        rows: of a strip, at most. check: stop at a strip that is not finite; the return value says whether there was
        none. down: takes strips to the CPU, each while the next is computed.
        """
        network = (self._exact_network() if exact else self._network).model
        assert isinstance(network, Network)
        turns = TURNS if self._self_ensemble else TURNS[:1]
        work = sum(network.work(turn.of(batch).shape[2]) for turn in turns)
        done = 0

        def report(rows: int) -> None:
            nonlocal done
            tick(done / work)
            self.pace()
            done += rows

        with InOrder(down) as going:
            for turn in turns:
                image = turn.of(batch)
                height = image.shape[2] * self._original.scale
                sides = image.shape[2], image.shape[3]
                at, step = 0, rows or memory.fitting_rows(self._original.model, *sides, self.device, self.dtype)
                put = _put if turn is turns[0] else _add
                for part in self._attended(network, image, StripPlan(step, report)):
                    if check and not torch.isfinite(part).all():
                        return False
                    place = turn.place(at, part.shape[1], height)
                    going.send(turn.back(part.permute(0, 3, 1, 2)), partial(put, results, place))
                    at += part.shape[1]
                    del part
        if len(turns) > 1:
            for result in results:
                result.div_(len(turns))
        return True

    def _attended(self, model: Network, image: Tensor, plan: StripPlan) -> Iterator[Tensor]:
        """The strips of an image; on a CPU in about as much memory as they are planned to take."""
        height, width = image.shape[2:]
        planned = memory.whole_bytes(model, height, width, self.device, self.dtype, plan.rows) * len(image)
        if self.device.type != "cpu" or planned < memory.SMALL:  # too little for holes to matter
            yield from model.strips(image, plan)
            return
        check = within(planned)
        strips = iter(model.strips(image, plan))
        while True:
            with between_steps(check):
                part = next(strips, None)
            if part is None:
                return
            yield part
            del part


def _put(results: list[Tensor], place: tuple[slice, ...], piece: Tensor) -> None:
    for result, of_it in zip(results, piece, strict=True):
        result[place].copy_(of_it)


def _add(results: list[Tensor], place: tuple[slice, ...], piece: Tensor) -> None:
    for result, of_it in zip(results, piece, strict=True):
        result[place].add_(of_it.to(result.device))
