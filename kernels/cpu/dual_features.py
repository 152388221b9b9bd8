"""HiT-SR's dual feature extraction on a CPU, in one pass over an image that comes in strips, by dual_features.c.

Its results are the queries and values of HiT-SR's correlation.
"""

from __future__ import annotations

from ctypes import c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import weights_of
from . import bands, build

HALO = 1
"""Rows above and below a pixel that its result depends on."""


class Pointers(build.Struct):
    """`weights` of dual_features.c."""

    _fields_ = build.fields(
        c_void_p,
        *("conv_0", "conv_2", "conv_4", "linear", "conv_0_bias", "conv_2_bias", "conv_4_bias", "linear_bias"),
    )


@dataclass(frozen=True, eq=False)
class Layers:
    """conv_4(f(conv_2(f(conv_0(x))))) linear(x) with f = LeakyReLU: layers by their names in a checkpoint.

    Attributes:
        conv_0: `conv.0`, 1x1, features -> hidden.
        conv_2: `conv.2`, 3x3, hidden -> hidden.
        conv_4: `conv.4`, 1x1, hidden -> features.
        linear: 1x1, features -> features.
    """

    conv_0: nn.Conv2d
    conv_2: nn.Conv2d
    conv_4: nn.Conv2d
    linear: nn.Conv2d

    def all(self) -> tuple[nn.Conv2d, ...]:
        return self.conv_0, self.conv_2, self.conv_4, self.linear

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(*self.all())


def can_run(layers: Layers) -> bool:
    """Return whether the kernel computes these: weights in CPU memory, all fp32 or all bf16, no gradients."""
    if not bands.layers_ok(layers.all(), layers.all()):
        return False
    hidden, features = layers.conv_0.weight.shape[:2]
    return supports(hidden, features, layers.conv_0.weight.dtype)


def supports(hidden: int, features: int, dtype: torch.dtype) -> bool:
    """Return whether there is a kernel here for these widths in this dtype."""
    return bands.supports("dual_features", (hidden, features), dtype)


def bytes_kept(hidden: int, features: int, width: int) -> int:
    """Return how many bytes are kept from strip to strip of an image of this width."""
    return bands.bytes_kept("dual_features", hidden, features, HALO, width)


def pack_weights(layers: Layers) -> bands.Weights:
    """Return the weights as `bands.BandKernel` takes them."""
    hidden, features = layers.conv_0.weight.shape[:2]
    rows = [bands.map_weight(row.transpose(1, 2).flatten(1)) for row in layers.conv_2.weight.unbind(2)]  # (out, kx in)
    tensors = {
        "conv_0": bands.map_weight(layers.conv_0.weight[:, :, 0, 0]),
        "conv_2": torch.cat(rows),
        "conv_4": bands.map_weight(layers.conv_4.weight[:, :, 0, 0]),
        "linear": bands.map_weight(layers.linear.weight[:, :, 0, 0]),
        "conv_0_bias": bands.map_bias(layers.conv_0.bias),
        "conv_2_bias": bands.map_bias(layers.conv_2.bias),
        "conv_4_bias": bands.map_bias(layers.conv_4.bias),
        "linear_bias": bands.map_bias(layers.linear.bias),
    }
    bf16 = layers.linear.weight.dtype == torch.bfloat16
    return bands.Weights("dual_features", features, hidden, HALO, bf16, 0.0, Pointers, tensors)
