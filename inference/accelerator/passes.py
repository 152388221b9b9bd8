"""How batches of tiles go through a network: step by step, compiled, or recorded as a graph, whichever pays.

What compiler and graphs need is a fixed shape. Tiles of an image have one; a batch that is half full or more is filled
up to one that is known, and a smaller rest is computed as it is.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from functools import partial

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from .. import precision as precisions
from . import cuda
from .cuda_graphs import Pass, Recorder
from .torch_compile import Compiler


class Passes:
    """Passes of one network on one device. choice: as Upscaler's `compile`."""

    def __init__(self, network: ImageModelDescriptor, choice: str, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self._network = network
        self._weights: object = None
        self._seen: Counter[torch.Size] = Counter()
        graphs = on_cuda and choice != "off" and precisions.is_ours(network.model)
        self.compiler = Compiler(
            network, choice, device, place=partial(cuda.current, device) if on_cuda else nullcontext
        )  # fmt: skip
        self.recorder = Recorder(cuda.Graph if graphs else None)
        self.active = precisions.is_ours(network.model) and (choice == "on" or graphs)
        """Whether anything but step by step is considered."""

    def begin(self) -> None:
        """Images begin to come. What was made for other weights than these is forgotten."""
        if not self.active:
            return
        weights = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._network.model.parameters()]
        if weights != self._weights:
            self.recorder.drop()
            self.compiler.forget()
            self._weights = weights
        self.compiler.begin()

    def drop(self) -> None:
        """Give back memory that graphs keep."""
        self.recorder.drop()

    @torch.inference_mode()
    def __call__(self, batch: Tensor, coming: int = 0) -> Tensor:
        """(N, C, h, w) fp32 -> the network's output, fp32. coming: batches like this one that are known beside it."""
        if not self.active:
            return precisions.run(self._network, batch)
        given = len(batch)
        batch = self._filled(batch)
        self._seen[batch.shape] += 1
        network: Pass = partial(precisions.run, self._network)
        if self.compiler.wants(batch.shape, coming):
            if batch.shape not in self.compiler.shapes():
                self.recorder.drop()
            network = self.compiler
        if self.recorder.wants(batch.shape, self._seen[batch.shape] + coming):
            return self.recorder(network, batch)[:given]
        return network(batch)[:given]

    def _filled(self, batch: Tensor) -> Tensor:
        """With its last tile repeated up to the smallest shape that is known, unless most of it would be repeated."""
        known = (*self.compiler.shapes(), *self.recorder.shapes())
        sizes = [s[0] for s in known if s[1:] == batch.shape[1:] and len(batch) <= s[0] <= 2 * len(batch)]
        missing = min(sizes, default=len(batch)) - len(batch)
        return batch if not missing else torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
