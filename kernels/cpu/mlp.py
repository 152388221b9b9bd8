"""The MLPs of HAT and HiT-SR with the norm before or after them on a CPU, in one pass over an image, by mlp.c."""

from __future__ import annotations

from ctypes import c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import weights_of
from . import bands, build

HALO = 2
"""Rows above and below a pixel that its result depends on, with a depthwise convolution; without one, none."""


class Pointers(build.Struct):
    """`weights` of mlp.c."""

    _fields_ = build.fields(
        c_void_p,
        *("fc1", "fc2", "fc1_bias", "fc2_bias", "dwconv", "dwconv_bias"),
        *("pre_norm", "pre_norm_bias", "post_norm", "post_norm_bias"),
    )


@dataclass(frozen=True, eq=False)
class Layers:
    """x + post_norm(fc2(h)) with h = t + GELU(dwconv(t)) and t = GELU(fc1(pre_norm(x))); None is left out.

    Attributes:
        fc1: features -> hidden.
        fc2: hidden -> features.
        dwconv: each channel for itself; the kernel computes 5x5.
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
    if layers.dwconv is not None and layers.dwconv.kernel_size != (5, 5):
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
    hidden, features = layers.fc1.weight.shape
    dwconv, norms = layers.dwconv, (layers.pre_norm, layers.post_norm)
    pre_norm, post_norm = ((None, None) if norm is None else bands.norm_tensors(norm) for norm in norms)
    tensors = {
        "fc1": bands.map_weight(layers.fc1.weight),
        "fc2": bands.map_weight(layers.fc2.weight),
        "fc1_bias": bands.map_bias(layers.fc1.bias),
        "fc2_bias": bands.map_bias(layers.fc2.bias),
        "dwconv": None if dwconv is None else bands.depthwise_weight(dwconv),
        "dwconv_bias": None if dwconv is None else bands.map_bias(dwconv.bias),
        "pre_norm": pre_norm[0],
        "pre_norm_bias": pre_norm[1],
        "post_norm": post_norm[0],
        "post_norm_bias": post_norm[1],
    }
    halo = 0 if dwconv is None else HALO
    bf16 = layers.fc1.weight.dtype == torch.bfloat16
    eps = next((norm.eps for norm in norms if norm is not None), 0.0)
    return bands.Weights("mlp", features, hidden, halo, bf16, eps, Pointers, tensors)
