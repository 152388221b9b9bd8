"""Operations of layers by their definition: multiply-adds per pixel, two operations each."""

from __future__ import annotations

from .layers import upsample_steps


def conv_flops(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> int:
    """Return the operations for one pixel of the output; a linear map is a kernel of 1."""
    return 2 * inputs // groups * outputs * kernel**2


def attention_flops(keys: int, dim: int) -> int:
    """Return the operations of both products for one query, all heads together."""
    return 4 * keys * dim


def classical_head_flops(dim: int, features: int, scale: int, channels: int) -> int:
    """Return the operations of HAT's head, and of HiT-SR's with the upsampler "pixelshuffle"."""
    total, pixels = conv_flops(dim, features), 1
    for step in upsample_steps(scale):  # each convolution sees as many pixels as the shuffles before it have made
        total += pixels * conv_flops(features, features * step**2)
        pixels *= step**2
    return total + scale**2 * conv_flops(features, channels)
