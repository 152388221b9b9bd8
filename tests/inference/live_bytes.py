"""How many bytes of tensors are alive at once while something is computed, whatever an allocator makes of it."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make inside of it. `peak`: the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(x.untyped_storage()) for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = id(storage)
                if key not in self._seen and key not in given:
                    self._seen.add(key)
                    size = storage.nbytes()
                    self.alive += size
                    weakref.finalize(storage, self._gone, key, size)
        self.peak = max(self.peak, self.alive)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size
