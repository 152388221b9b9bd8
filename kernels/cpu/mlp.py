"""The MLPs of HAT and HiT-SR and the norm beside them on a CPU, in one pass over an image, by mlp.c."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import weights_of
from . import bands

HALO = 2
"""Rows above and below a pixel that its result depends on, with a depthwise convolution; without one, none."""


@dataclass(frozen=True, eq=False)
class Layers:
    """x + post_norm(fc2(h)) with h = t + GELU(dwconv(t)) and t = GELU(fc1(pre_norm(x))); None is left out.

    Attributes:
        fc1: features -> hidden.
        fc2: hidden -> features.
        dwconv: 5x5, each channel for itself.
        pre_norm: Over the features of each pixel, before `fc1`.
        post_norm: Over the features of each pixel, after `fc2`. No network has both norms.
    """

    fc1: nn.Linear
    fc2: nn.Linear
    dwconv: nn.Conv2d | None = None
    pre_norm: nn.LayerNorm | None = None
    post_norm: nn.LayerNorm | None = None

    def all(self) -> list[nn.Linear | nn.Conv2d | nn.LayerNorm]:
        optional = (self.fc1, self.fc2, self.dwconv, self.pre_norm, self.post_norm)
        return [layer for layer in optional if layer is not None]

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(*self.all())


def can_run(layers: Layers) -> bool:
    """Return whether the kernel computes these: weights in CPU memory, fc1 and fc2 of one dtype, no gradients."""
    if not bands.layers_ok(layers.all(), (layers.fc1, layers.fc2)):
        return False
    if layers.pre_norm is not None and layers.post_norm is not None:
        return False
    hidden, features = layers.fc1.weight.shape
    return supports(hidden, features, layers.fc1.weight.dtype)


def supports(hidden: int, features: int, dtype: torch.dtype) -> bool:
    """Return whether there is a kernel here for these widths, with fc1 and fc2 in this dtype."""
    return bands.supports("mlp", (hidden, features), dtype)


def bytes_kept(hidden: int, features: int, width: int) -> int:
    """Return how many bytes are kept from strip to strip of an image of this width, with a depthwise convolution."""
    return bands.bytes_kept("mlp", hidden, features, HALO, width)


def pack_weights(layers: Layers) -> bands.Weights:
    """Return the weights as `bands.BandKernel` takes them."""
    fc1, fc2, dwconv = layers.fc1, layers.fc2, layers.dwconv
    hidden, features = fc1.weight.shape
    norms = layers.pre_norm, layers.post_norm
    tensors = (
        bands.map_weight(fc1.weight),
        bands.map_weight(fc2.weight),
        bands.map_bias(fc1.bias),
        bands.map_bias(fc2.bias),
        *((None, None) if dwconv is None else (bands.depthwise_weight(dwconv), bands.map_bias(dwconv.bias))),
        *(tensor for norm in norms for tensor in ((None, None) if norm is None else bands.norm_tensors(norm))),
    )
    eps = next((norm.eps for norm in norms if norm is not None), 0.0)
    halo = HALO if dwconv is not None else 0
    return bands.Weights("mlp", features, hidden, halo, fc1.weight.dtype == torch.bfloat16, eps, tensors)
