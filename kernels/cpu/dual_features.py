"""HiT-SR's queries and values on a CPU in one pass over an image, a strip of it at a time, by dual_features.c."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import bands
from .build import weights_of

REACH = 1  # rows above and below that a pixel's result depends on


@dataclass(frozen=True, eq=False)
class Layers:
    """widen(f(look(f(narrow(x))))) times linear(x), f a LeakyReLU; `look` is 3x3, the others 1x1."""

    narrow: nn.Conv2d
    look: nn.Conv2d
    widen: nn.Conv2d
    linear: nn.Conv2d

    def all(self) -> tuple[nn.Conv2d, ...]:
        return self.narrow, self.look, self.widen, self.linear

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(*self.all())


def available(layers: Layers) -> bool:
    """Whether it can be computed here: in CPU memory, all weights fp32 or all bf16; not for gradients."""
    if not bands.readable(layers.all(), layers.all()):
        return False
    narrow, features = layers.narrow.weight.shape[:2]
    return exists(narrow, features, layers.narrow.weight.dtype)


def exists(narrow: int, features: int, dtype: torch.dtype) -> bool:
    """Whether there is a kernel for these widths in this dtype."""
    return bands.exists("dual_features", (narrow, features), dtype)


def bytes_kept(narrow: int, features: int, width: int) -> int:
    """What is kept of an image of this width."""
    return bands.bytes_kept("dual_features", narrow, features, REACH, width)


def packed(layers: Layers) -> bands.Weights:
    """The weights for `bands.Rows`."""
    narrow, features = layers.narrow.weight.shape[:2]
    look = [bands.map_weight(row.transpose(1, 2).flatten(1)) for row in layers.look.weight.unbind(2)]  # (out, kx in)
    maps = [bands.map_weight(layer.weight[:, :, 0, 0]) for layer in layers.all() if layer is not layers.look]
    tensors = (maps[0], torch.cat(look), maps[1], maps[2], *(bands.map_bias(layer.bias) for layer in layers.all()))
    half = layers.linear.weight.dtype == torch.bfloat16
    return bands.Weights("dual_features", features, narrow, REACH, half, 0.0, tensors)
