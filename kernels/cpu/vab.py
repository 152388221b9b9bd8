"""VapSR's block on a CPU in one pass over an image, a strip of it at a time, by vab.c.

Step by step, its maps pass through memory eight times, and two Zen 5 cores reach 36 to 43 % of what they do in a
convolution. In one pass the maps stay in cache: it is 68 to 72 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import bands
from .build import weights_of

REACH = 8  # rows above and below that a pixel's result depends on


@dataclass(frozen=True, eq=False)
class Layers:
    """A block. maps: pointwise, features -> channels -> channels -> features. depthwise: 5x5, and that dilated by 3."""

    maps: tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]
    depthwise: tuple[nn.Conv2d, nn.Conv2d]
    norm: nn.LayerNorm

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(*self.maps, *self.depthwise, self.norm)


def available(layers: Layers) -> bool:
    """Whether a block can be computed here: in CPU memory, its maps all fp32 or all bf16; not for gradients."""
    if not bands.readable((*layers.maps, *layers.depthwise, layers.norm), layers.maps):
        return False
    channels, features = layers.maps[0].weight.shape[:2]
    return exists(channels, features, layers.maps[0].weight.dtype)


def exists(channels: int, features: int, dtype: torch.dtype) -> bool:
    """Whether there is a kernel for blocks of these widths, with maps in this dtype."""
    widths = channels, features
    return not any(width % bands.BLOCK for width in widths) and bands.exists("vab", widths, dtype)


def bytes_kept(channels: int, features: int, width: int) -> int:
    """What a block keeps of an image of this width."""
    return bands.bytes_kept("vab", channels, features, REACH, width)


def packed(layers: Layers) -> bands.Weights:
    """The weights for `bands.Rows`."""
    channels, features = layers.maps[0].weight.shape[:2]
    half = layers.maps[0].weight.dtype == torch.bfloat16
    tensors = [bands.map_weight(layer.weight[:, :, 0, 0]) for layer in layers.maps]
    tensors += [bands.map_bias(layer.bias) for layer in layers.maps]
    for layer in layers.depthwise:
        tensors += [bands.depthwise_weight(layer), bands.map_bias(layer.bias)]
    tensors += bands.norm_tensors(layers.norm)
    return bands.Weights("vab", features, channels, REACH, half, layers.norm.eps, tuple(tensors))
