"""The MLPs of HAT and HiT-SR and the norm beside them on a CPU, in one pass over an image, by mlp.c."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import bands
from .build import weights_of

REACH = 2  # rows above and below that a pixel's result depends on, where there is a depthwise convolution


@dataclass(frozen=True, eq=False)
class Layers:
    """x + after(project(h)), h = t + GELU(depthwise(t)), t = GELU(lift(before(x))); what is None is left out."""

    lift: nn.Linear
    project: nn.Linear
    depthwise: nn.Conv2d | None = None
    before: nn.LayerNorm | None = None
    after: nn.LayerNorm | None = None

    def all(self) -> list[nn.Linear | nn.Conv2d | nn.LayerNorm]:
        every = (self.lift, self.project, self.depthwise, self.before, self.after)
        return [layer for layer in every if layer is not None]

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(*self.all())


def available(layers: Layers) -> bool:
    """Whether it can be computed here: in CPU memory, its maps both fp32 or both bf16; not for gradients."""
    if not bands.readable(layers.all(), (layers.lift, layers.project)):
        return False
    if layers.before is not None and layers.after is not None:  # no network has both
        return False
    hidden, features = layers.lift.weight.shape
    return exists(hidden, features, layers.lift.weight.dtype)


def exists(hidden: int, features: int, dtype: torch.dtype) -> bool:
    """Whether there is a kernel for these widths, with maps in this dtype."""
    return bands.exists("mlp", (hidden, features), dtype)


def bytes_kept(hidden: int, features: int, width: int) -> int:
    """What is kept of an image of this width where there is a depthwise convolution."""
    return bands.bytes_kept("mlp", hidden, features, REACH, width)


def packed(layers: Layers) -> bands.Weights:
    """The weights for `bands.Rows`."""
    lift, look, project = layers.lift, layers.depthwise, layers.project
    hidden, features = lift.weight.shape
    maps = bands.map_weight(lift.weight), bands.map_weight(project.weight)
    biases = bands.map_bias(lift.bias), bands.map_bias(project.bias)
    around = (None, None) if look is None else (bands.depthwise_weight(look), bands.map_bias(look.bias))
    norms = [(None, None) if n is None else bands.norm_tensors(n) for n in (layers.before, layers.after)]
    (eps,) = {n.eps for n in (layers.before, layers.after) if n is not None} or {0.0}
    tensors = (*maps, *biases, *around, *norms[0], *norms[1])
    half = lift.weight.dtype == torch.bfloat16
    return bands.Weights("mlp", features, hidden, REACH if look is not None else 0, half, eps, tensors)
