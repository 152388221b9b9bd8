"""3x3 convolutions of networks that are not ours, by the kernel that ours have on a CPU.

Their layers keep names, weights and results; an activation that follows a convolution in a sequence becomes part of it.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels import ops


class Convolution(nn.Conv2d):
    """An `nn.Conv2d` whose forward pass is ours. Made by `use_kernels`, never built.

    Attributes:
        slope: what negative results are multiplied with, (1) or (channels); None leaves them.
    """

    slope: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 4 or torch.is_autocast_enabled(input.device.type):
            y = super().forward(input)
            return y if self.slope is None else F.prelu(y, self.slope.to(y.dtype))
        return ops.conv2d(input.permute(0, 2, 3, 1), self, slope=self.slope).permute(0, 3, 1, 2)


def has_kernels() -> bool:
    """Return True if convolutions can be computed by our kernel here."""
    return ops.has_convolution_kernel()


def weights_for_kernels(network: nn.Module) -> list[Tensor]:
    """Return the weights of the layers that `use_kernels` changes, which their kernel reads once."""
    return [layer.weight for layer in network.modules() if _suits(layer)]


def use_kernels(network: nn.Module) -> None:
    """Let all 3x3 convolutions of a network that a kernel can compute use it.

    Args:
        network: in evaluation. It is changed; its `state_dict` loses the slopes of activations that are taken over.
    """
    for layer in network.modules():
        if _suits(layer):
            layer.__class__ = Convolution
    for layer in network.modules():
        if isinstance(layer, (nn.Sequential, nn.ModuleList)):
            _take_over_activations(layer)
        _merge_once(layer)


def _suits(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(layer) is nn.Conv2d and ops.suits_kernel(layer)


def _take_over_activations(sequence: nn.Sequential | nn.ModuleList) -> None:
    for i in range(len(sequence) - 1):
        layer, slope = sequence[i], slope_of(sequence[i + 1])
        if isinstance(layer, Convolution) and slope is not None:
            layer.slope = slope
            sequence[i + 1] = nn.Identity()


def slope_of(layer: nn.Module) -> Tensor | None:
    """Return what an activation multiplies negative numbers with; None if it does something else."""
    if type(layer) is nn.ReLU:
        return torch.zeros(1)
    if type(layer) is nn.LeakyReLU:
        return torch.full((1,), layer.negative_slope)
    if type(layer) is nn.PReLU:
        return layer.weight.detach()
    return None


def _merge_once(layer: Any) -> None:
    """Let SPAN's convolutions, which merge their branches at each call, do so for the last time."""
    if isinstance(getattr(layer, "eval_conv", None), nn.Conv2d) and callable(getattr(layer, "update_params", None)):
        layer.update_params()
        layer.update_params = _nothing


def _nothing() -> None:
    pass
