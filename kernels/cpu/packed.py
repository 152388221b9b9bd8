"""A convolution's weights as its kernels for CPUs read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..activations import Activation
from .bands import map_bias


@dataclass(frozen=True, eq=False)
class Packed:
    """The weights of a convolution and of the activation after it.

    Attributes:
        kernel_size: Its rows and columns.
        outputs: Channels of the result.
        weight: As the kernel reads it.
        bias: Padded to a multiple of BLOCK channels.
        activation: Its kind; 0 for none.
        slope: What a leaky activation multiplies negative results with, padded likewise; 1 for others.
    """

    kernel_size: tuple[int, ...]
    outputs: int
    weight: Tensor
    bias: Tensor
    activation: int
    slope: Tensor


def packed(conv: nn.Conv2d, weight: Tensor, activation: Activation | None) -> Packed:
    """Return a layer's weights, of which `weight` is as a kernel reads it."""
    channels = conv.out_channels
    bias = weight.new_zeros(channels) if conv.bias is None else conv.bias
    slope = torch.ones(1) if activation is None or activation.slope is None else activation.slope
    kind = 0 if activation is None else int(activation.kind)
    return Packed(conv.kernel_size, channels, weight, map_bias(bias), kind, map_bias(slope.expand(channels)))
