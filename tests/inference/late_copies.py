"""Copies as a device beside the host makes them, as late as it may: what is read too early is noise, and shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class LateCopies:
    """Stands for cuda.Copies on the CPU. Results arrive when they are waited for, and not before.

    Staged memory may be written again once the copy from it has been waited for; doing it earlier is an error.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory  # bytes of a piece that the system grants
        self.buffers = self.uploads = self.downloads = self.under_way = self.most_under_way = 0

    def staging(self, size: int) -> Tensor:
        if self.memory is not None and size > self.memory:
            raise RuntimeError("CUDA error: out of page-locked memory")
        self.buffers += 1
        with torch.inference_mode(False):
            return torch.full((size,), 0xAB, dtype=torch.uint8)

    def up(self, staged: Tensor) -> tuple[Tensor, Callable[[], None]]:
        self.uploads += 1
        before = staged.clone()

        def wait() -> None:
            assert torch.equal(before.view(torch.uint8), staged.view(torch.uint8)), "written before it was read"

        return before.clone(), wait

    def down(self, tensors: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], None]:
        self.downloads += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        pairs = list(tensors)
        for tensor, staged in pairs:
            assert tensor.is_contiguous()
            staged.view(torch.uint8).fill_(0xCD)

        def wait() -> None:
            self.under_way -= 1
            for tensor, staged in pairs:
                staged.copy_(tensor)

        return wait
