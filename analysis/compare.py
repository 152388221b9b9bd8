"""Two images of one size against each other: their figures, their difference made visible, where it is largest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .fidelity import Fidelity, codes, inside, measure

_LARGEST_GAIN = 128
_BEYOND_WHITE = 0.01  # how much of the image the gain may push there


@dataclass(frozen=True)
class Region:
    """A square of an image, in pixels."""

    left: int
    top: int
    side: int

    def of(self, image: Tensor) -> Tensor:
        return image[..., self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True)
class Comparison:
    """fidelity: within the border. difference: (3, H, W) in [0, 1], of each channel, `gain` times as large as it is.

    worst: where the squared error within the border is largest; None where there is no error.
    """

    fidelity: Fidelity
    difference: Tensor
    gain: int
    worst: Region | None


def compare(a: Tensor, b: Tensor, border: int = 0) -> Comparison:
    """Two images (1 or 3, H, W) in [0, 1], in 8 bits. Raises ComparisonError as `fidelity.measure`."""
    fidelity = measure(a, b, border)
    steps = (codes(a) - codes(b)).abs()
    gain = _gain(steps)
    difference = (steps * (gain / 255)).clamp(0, 1).float()
    return Comparison(fidelity, difference, gain, _worst(inside(steps, border), border))


def _gain(steps: Tensor) -> int:
    """The largest power of two that leaves nearly all of the difference below white."""
    counts = torch.bincount(steps.flatten().int(), minlength=256).flip(0).cumsum(0).flip(0)  # of this many or more
    gain = 1
    while gain < _LARGEST_GAIN and counts[255 // (2 * gain) + 1] <= _BEYOND_WHITE * steps.numel():
        gain *= 2
    return gain if bool(counts[1]) else 1


def _worst(steps: Tensor, border: int) -> Region | None:
    if not bool(steps.any()):
        return None
    height, width = steps.shape[-2:]
    side = min(max(16, min(96, min(height, width) // 6)), height, width)
    # Sums over every square of that side, from sums over everything above and to the left.
    sums = F.pad(steps.square().sum(0).cumsum(0).cumsum(1), (1, 0, 1, 0))
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = divmod(int(squares.argmax()), squares.shape[1])
    return Region(border + left, border + top, side)
