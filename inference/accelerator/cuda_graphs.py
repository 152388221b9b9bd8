"""Networks recorded as graphs of kernels: one launch for a batch instead of one for each of its steps.

A small network's kernels take less time than the host takes to launch them one by one. A graph holds for one shape of
batch and keeps memory, so one is made only where many batches of a shape are known, and dropped with the shape.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import is_out_of_memory
from ..precision import agree

log = logging.getLogger(__name__)

Pass = Callable[[Tensor], Tensor]

WORTH = 16
"""Batches of a shape, computed and to come, from which a graph pays: making one costs about six."""


class Recorder:
    """Makes graphs, looks after them, and gives up where they cannot be had.

    record: makes a graph of a pass like a batch, as cuda.Graph does; None where there are none.
    """

    def __init__(self, record: Callable[[Pass, Tensor], Pass] | None) -> None:
        self._record = record
        self._graphs: dict[torch.Size, Pass] = {}

    def wants(self, shape: torch.Size, known: int) -> bool:
        """Whether batches of this shape, of which so many are known, are to go through a graph."""
        if self._record is None or torch.is_grad_enabled():
            return False
        return shape in self._graphs or known >= WORTH

    def __call__(self, network: Pass, batch: Tensor) -> Tensor:
        """network(batch), by a graph. The first batch of a shape is computed without one, which is held against it."""
        graph = self._graphs.get(batch.shape)
        if graph is not None:
            return graph(batch)
        output = network(batch)  # tables that networks keep are there now, and are not computed within the graph
        self._keep_shapes_like(batch.shape)
        assert self._record is not None
        try:
            # Of other numbers: one that had recorded these instead of reading its input would show.
            graph = self._record(network, batch.flip(-1).contiguous())
            same = agree(graph(batch), output)
        except Exception as error:  # whatever a driver has to say; the pass without a graph is there
            self.give_up(str(error).partition("\n")[0], error)
            return output
        if same is None:  # half precision could not hold it; another batch will tell
            return output
        if not same:
            self.give_up("its result differs")
            return output
        self._graphs[batch.shape] = graph
        return output

    def shapes(self) -> list[torch.Size]:
        return list(self._graphs)

    def drop(self) -> None:
        """Give their memory back."""
        self._graphs.clear()

    def give_up(self, reason: str, error: BaseException | None = None) -> None:
        """Of memory too: a network that runs without a graph is worth more than one that has one."""
        short = error is not None and is_out_of_memory(error)
        log.warning("The network is not recorded (%s); going on step by step.", "out of memory" if short else reason)
        self._record = None
        self.drop()

    def _keep_shapes_like(self, shape: torch.Size) -> None:
        """Two at most: of tiles of these sides, upright and turned."""
        for other in list(self._graphs):
            if sorted(other[-2:]) != sorted(shape[-2:]) or other[-2:] == shape[-2:]:
                del self._graphs[other]
