"""Tensors derived from weights, computed once and kept beside them: packed weights, padded heads, position biases."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

T = TypeVar("T")


class Constants:
    """Tensors derived from a module's weights or from its shape alone, computed once and kept outside its state dict.

    An entry is recomputed when the tensors it is derived from were replaced (moved, cast, loaded anew) or, where the
    framework counts it, written to. While gradients are recorded nothing is kept: a constant would then be part of
    the graph.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[Hashable, Any]] = {}

    def get(self, name: Hashable, sources: tuple[Tensor, ...], compute: Callable[[], T]) -> T:
        """Return what `compute` returns, from now on until one of `sources` changes."""
        if torch.is_grad_enabled() and any(s.requires_grad for s in sources):
            return compute()
        if torch.compiler.is_compiling():  # the network has run before it is compiled, with the weights it has now
            known = self._entries.get(name)
            return compute() if known is None else known[1]
        state = tuple(_identity(s) for s in sources)
        kept = self._entries.get(name)
        if kept is None or kept[0] != state:
            # Not as inference tensors: gradients may be wanted later (training, attribution).
            with torch.inference_mode(False), torch.no_grad():
                kept = (state, compute())
            self._entries[name] = kept
        return kept[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Constants:
        return Constants()

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": {}}


def _identity(tensor: Tensor) -> Hashable:
    """Return what changes when a tensor's values are replaced or, where the framework counts it, written to.

    The weak reference keeps no memory alive, but its storage's address from being reused.
    """
    version = 0 if tensor.is_inference() else tensor._version
    return StorageWeakRef(tensor.untyped_storage()), tensor.data_ptr(), tensor.device, tensor.dtype, version
