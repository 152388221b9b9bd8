"""Convolutions of networks that are not ours, by our kernels for CPUs.

Their layers keep names, weights and results; an activation that follows a convolution in a sequence becomes part of it.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ...kernels import ops
from ...kernels.activations import Activation, activation_of


class Convolution(nn.Conv2d):
    """An `nn.Conv2d` whose forward pass is ours. Made by `use_kernels`, never built.

    Attributes:
        activation: what follows it in a sequence.
    """

    activation: Activation | None = None

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 4 or torch.is_autocast_enabled(input.device.type):
            y = super().forward(input)
            return y if self.activation is None else self.activation(y)
        return ops.conv2d(input.permute(0, 2, 3, 1), self, activation=self.activation).permute(0, 3, 1, 2)


def has_kernels() -> bool:
    """Return True if convolutions can be computed by our kernels here."""
    return ops.has_convolution_kernel()


def weights_for_kernels(network: nn.Module) -> list[Tensor]:
    """Return the weights of the layers that `use_kernels` changes, which their kernel reads once."""
    return [layer.weight for layer in network.modules() if _suits(layer)]


def use_kernels(network: nn.Module) -> None:
    """Let all convolutions of a network that a kernel can compute use it.

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
        layer, activation = sequence[i], activation_of(sequence[i + 1])
        if isinstance(layer, Convolution) and activation is not None:
            layer.activation = activation
            sequence[i + 1] = nn.Identity()


def _merge_once(layer: Any) -> None:
    """Let SPAN's convolutions, which merge their branches at each call, do so for the last time."""
    if isinstance(getattr(layer, "eval_conv", None), nn.Conv2d) and callable(getattr(layer, "update_params", None)):
        layer.update_params()
        layer.update_params = _nothing


def _nothing() -> None:
    pass
