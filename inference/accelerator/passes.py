"""Run batches of tiles through a network: eagerly, compiled, or as a CUDA graph, whichever is faster.

Compiler and graphs need a fixed shape. The tiles of an image have one; a batch that is at least half full is padded to
the shape of a full one, and a smaller one runs eagerly.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from functools import partial

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from .. import precision as precisions
from . import cuda, verified
from .cuda_graphs import Pass, Recorder
from .torch_compile import Compiler


class Passes:
    """The passes of one network on one device.

    Args:
        network: the model in its precision on the device.
        choice: `compile` of the Upscaler.
        device: where it computes.

    Attributes:
        active: True if compiling or graphs are considered at all.
    """

    def __init__(self, network: ImageModelDescriptor, choice: str, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self._network = network
        self._weights: object = None
        self._seen: Counter[torch.Size] = Counter()
        graphs = on_cuda and choice in ("auto", "on") and precisions.is_ours(network.model)
        if choice == "verified":
            setup = verified.setup_of(device) if precisions.is_ours(network.model) else None
            graphs = verified.works(verified.GRAPHS, setup)
            choice = "auto" if verified.works(verified.compiled(network.architecture.name), setup) else "off"
        self.compiler = Compiler(
            network, choice, device, place=partial(cuda.current, device) if on_cuda else nullcontext
        )  # fmt: skip
        self.recorder = Recorder(cuda.Graph if graphs else None)
        compiles = choice == "on" or (choice == "auto" and on_cuda)
        self.active = precisions.is_ours(network.model) and (compiles or graphs)

    def begin(self) -> None:
        """Start a stream of images; drop what was compiled or recorded for other weights."""
        if not self.active:
            return
        weights = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._network.model.parameters()]
        if weights != self._weights:
            self.recorder.drop()
            self.compiler.forget()
            self._weights = weights
        self.compiler.begin()

    def drop(self) -> None:
        """Drop the graphs and the memory they keep."""
        self.recorder.drop()

    @torch.inference_mode()
    def __call__(self, batch: Tensor, coming: int = 0) -> Tensor:
        """Return the network's output.

        Args:
            batch: (N, C, h, w) fp32.
            coming: how many more batches of this shape are known.

        Returns:
            (N, C', sh, sw) fp32.
        """
        if not self.active:
            return precisions.run(self._network, batch)
        size = len(batch)
        batch = self._padded(batch)
        self._seen[batch.shape] += 1
        network: Pass = partial(precisions.run, self._network)
        if self.compiler.wants(batch.shape, coming):
            if batch.shape not in self.compiler.shapes():
                self.recorder.drop()
            network = self.compiler
        if self.recorder.wants(batch.shape, self._seen[batch.shape] + coming):
            return self.recorder(network, batch)[:size]
        return network(batch)[:size]

    def _padded(self, batch: Tensor) -> Tensor:
        """Repeat the last tile up to the smallest known batch, unless that would more than double the batch."""
        known = (*self.compiler.shapes(), *self.recorder.shapes())
        sizes = [s[0] for s in known if s[1:] == batch.shape[1:] and len(batch) <= s[0] <= 2 * len(batch)]
        missing = min(sizes, default=len(batch)) - len(batch)
        return batch if not missing else torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
