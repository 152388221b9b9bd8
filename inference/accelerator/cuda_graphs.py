"""Record a network as a CUDA graph: one launch for a batch instead of one for each of its steps.

The kernels of a small network take less time than the host takes to launch them one by one. A graph serves one shape of
batch and keeps memory, so it is recorded only if many batches of a shape are known, and dropped with the shape.
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

MIN_BATCHES = 16
"""Batches of a shape, computed and to come, for which a graph is recorded. Recording takes as long as about six."""


class Recorder:
    """Records graphs and runs them; the network runs without them after the first failure.

    Args:
        record: records a pass for batches like the one given, as cuda.Graph does; None where there are no graphs.
    """

    def __init__(self, record: Callable[[Pass, Tensor], Pass] | None) -> None:
        self._record = record
        self._graphs: dict[torch.Size, Pass] = {}

    def wants(self, shape: torch.Size, known: int) -> bool:
        """Return whether batches of this shape should go through a graph, if so many of them are known."""
        if self._record is None or torch.is_grad_enabled():
            return False
        return shape in self._graphs or known >= MIN_BATCHES

    def __call__(self, network: Pass, batch: Tensor) -> Tensor:
        """Return network(batch), by a graph. The first batch of a shape runs without one, to compare with."""
        graph = self._graphs.get(batch.shape)
        if graph is not None:
            return graph(batch)
        output = network(batch)  # also computes the network's cached tables, which must not be part of the graph
        self._keep_shapes_like(batch.shape)
        assert self._record is not None
        try:
            # Recorded with other values, so that a graph that does not read its input differs.
            graph = self._record(network, batch.flip(-1).contiguous())
            same = agree(graph(batch), output)
        except Exception as error:  # a driver may raise anything, and the network runs without a graph
            self.give_up(str(error).partition("\n")[0], error)
            return output
        if same is None:  # half precision has overflowed; the next batch is compared instead
            return output
        if not same:
            self.give_up("its result differs")
            return output
        self._graphs[batch.shape] = graph
        return output

    def shapes(self) -> list[torch.Size]:
        return list(self._graphs)

    def drop(self) -> None:
        """Drop all graphs and their memory."""
        self._graphs.clear()

    def give_up(self, reason: str, error: BaseException | None = None) -> None:
        """Record no more graphs. Out of memory is a reason too: then the network needs the memory more."""
        no_memory = error is not None and is_out_of_memory(error)
        log.warning(
            "CUDA graphs cannot be used (%s); the network runs without them.", "out of memory" if no_memory else reason
        )
        self._record = None
        self.drop()

    def _keep_shapes_like(self, shape: torch.Size) -> None:
        """Drop all graphs but those of tiles of this size and of its transpose."""
        for other in list(self._graphs):
            if sorted(other[-2:]) != sorted(shape[-2:]) or other[-2:] == shape[-2:]:
                del self._graphs[other]
