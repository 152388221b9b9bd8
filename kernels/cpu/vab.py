"""VapSR's block on a CPU, in one pass over an image that comes in strips, by vab.c.

Step by step, its maps pass through memory eight times, and two Zen 5 cores reach 36 to 43 % of what they do in a
convolution. In one pass the maps stay in cache, and they reach 68 to 72 %.
"""

from __future__ import annotations

from ctypes import c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import weights_of
from . import bands, build

HALO = 8
"""Rows and columns on each side of a pixel that its result depends on."""


class Pointers(build.Struct):
    """`weights` of vab.c."""

    _fields_ = build.fields(
        c_void_p,
        *("proj_1", "pointwise", "proj_2", "proj_1_bias", "pointwise_bias", "proj_2_bias"),
        *("depthwise", "depthwise_bias", "depthwise_dilated", "depthwise_dilated_bias"),
        *("pixel_norm", "pixel_norm_bias"),
    )


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a block, by their names in a checkpoint.

    Attributes:
        proj_1: Pointwise, features -> attention channels.
        pointwise: Pointwise, attention channels -> attention channels.
        depthwise: 5x5, each channel for itself.
        depthwise_dilated: 5x5 with a dilation of 3, each channel for itself.
        proj_2: Pointwise, attention channels -> features.
        pixel_norm: Over the features of each pixel.
    """

    proj_1: nn.Conv2d
    pointwise: nn.Conv2d
    depthwise: nn.Conv2d
    depthwise_dilated: nn.Conv2d
    proj_2: nn.Conv2d
    pixel_norm: nn.LayerNorm

    @property
    def maps(self) -> tuple[nn.Conv2d, ...]:
        return self.proj_1, self.pointwise, self.proj_2

    def all(self) -> tuple[nn.Conv2d | nn.LayerNorm, ...]:
        return *self.maps, self.depthwise, self.depthwise_dilated, self.pixel_norm

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(*self.all())


def can_run(layers: Layers) -> bool:
    """Return whether the kernel computes this block: weights in CPU memory, maps all fp32 or all bf16, no gradients."""
    if not bands.layers_ok(layers.all(), layers.maps):
        return False
    hidden, features = layers.proj_1.weight.shape[:2]
    return supports(hidden, features, layers.proj_1.weight.dtype)


def supports(hidden: int, features: int, dtype: torch.dtype) -> bool:
    """Return whether there is a kernel here for blocks of these widths, with maps in this dtype."""
    widths = hidden, features
    return not any(width % bands.BLOCK for width in widths) and bands.supports("vab", widths, dtype)


def bytes_kept(hidden: int, features: int, width: int) -> int:
    """Return how many bytes a block keeps from strip to strip of an image of this width."""
    return bands.bytes_kept("vab", hidden, features, HALO, width)


def pack_weights(layers: Layers) -> bands.Weights:
    """Return the weights of a block as `bands.BandKernel` takes them."""
    hidden, features = layers.proj_1.weight.shape[:2]
    norm, norm_bias = bands.norm_tensors(layers.pixel_norm)
    tensors = {
        "proj_1": bands.map_weight(layers.proj_1.weight[:, :, 0, 0]),
        "pointwise": bands.map_weight(layers.pointwise.weight[:, :, 0, 0]),
        "proj_2": bands.map_weight(layers.proj_2.weight[:, :, 0, 0]),
        "proj_1_bias": bands.map_bias(layers.proj_1.bias),
        "pointwise_bias": bands.map_bias(layers.pointwise.bias),
        "proj_2_bias": bands.map_bias(layers.proj_2.bias),
        "depthwise": bands.depthwise_weight(layers.depthwise),
        "depthwise_bias": bands.map_bias(layers.depthwise.bias),
        "depthwise_dilated": bands.depthwise_weight(layers.depthwise_dilated),
        "depthwise_dilated_bias": bands.map_bias(layers.depthwise_dilated.bias),
        "pixel_norm": norm,
        "pixel_norm_bias": norm_bias,
    }
    bf16 = layers.proj_1.weight.dtype == torch.bfloat16
    return bands.Weights("vab", features, hidden, HALO, bf16, layers.pixel_norm.eps, Pointers, tensors)
