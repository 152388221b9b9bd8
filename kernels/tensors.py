"""Tensors as kernels need them: which ones a kernel may read, the parameters of layers, memory layout."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

FLOATS = (torch.float32, torch.bfloat16)
"""Dtypes of the weights that kernels for CPUs read."""


def tensors_ok(tensors: Collection[Tensor], dtypes: Collection[torch.dtype], device: str = "cpu") -> bool:
    """Return whether a kernel may read these tensors in the current call.

    False while a pass is traced, recorded for gradients or watched by a dispatch mode: neither sees what a kernel does.

    Args:
        tensors: All that the kernel would read.
        dtypes: The dtypes it reads.
        device: The type of device whose memory it reads.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    if not all(t.device.type == device and t.dtype in dtypes for t in tensors):
        return False
    return not torch.compiler.is_compiling() and not is_in_torch_dispatch_mode()


def weights_of(*layers: nn.Module) -> tuple[Tensor, ...]:
    """Return the parameters of these layers, in order."""
    weights: list[Tensor] = []
    for layer in layers:  # `parameters()` takes as long as a small kernel, so layers without submodules skip it
        weights += layer.parameters() if layer._modules else (p for p in layer._parameters.values() if p is not None)
    return tuple(weights)


def dense_rows(x: Tensor) -> Tensor:
    """Return (B, H, W, C) such that the pixels of a row are contiguous: `x` itself, or a copy."""
    return x if x.stride()[2:] == (x.shape[3], 1) else x.contiguous()
