"""Activations that kernels compute with the convolution before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Kind(IntEnum):
    """As in activations.h, where 0 is none."""

    LEAKY = 1
    GELU = 2
    SILU = 3
    MISH = 4
    SIGMOID = 5


_FUNCTIONS: dict[Kind, Callable[[Tensor], Tensor]] = {
    Kind.GELU: F.gelu,
    Kind.SILU: F.silu,
    Kind.MISH: F.mish,
    Kind.SIGMOID: torch.sigmoid,
}
_OF_LAYERS: dict[type[nn.Module], Kind] = {nn.SiLU: Kind.SILU, nn.Mish: Kind.MISH, nn.Sigmoid: Kind.SIGMOID}


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation.

    Attributes:
        kind: Its function.
        slope: What a leaky one multiplies negative numbers with, (1) or (channels).
    """

    kind: Kind
    slope: Tensor | None = None

    def __call__(self, y: Tensor) -> Tensor:
        """(B, channels, ...) -> the same shape."""
        return _FUNCTIONS[self.kind](y) if self.slope is None else F.prelu(y, self.slope.to(y.dtype))


def activation_of(layer: nn.Module) -> Activation | None:
    """Return what a layer computes; None if that is something else."""
    if type(layer) is nn.ReLU:
        return Activation(Kind.LEAKY, torch.zeros(1))
    if type(layer) is nn.LeakyReLU:
        return Activation(Kind.LEAKY, torch.full((1,), layer.negative_slope))
    if type(layer) is nn.PReLU:
        return Activation(Kind.LEAKY, layer.weight.detach())
    if type(layer) is nn.GELU and layer.approximate == "none":
        return Activation(Kind.GELU)
    kind = _OF_LAYERS.get(type(layer))
    return None if kind is None else Activation(kind)
