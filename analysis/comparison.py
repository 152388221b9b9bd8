"""Compare two images of one size: PSNR and SSIM, the amplified difference, and where it is largest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .fidelity import Fidelity, codes, inside, measure

_MAX_GAIN = 128
_MAX_CLIPPED_SHARE = 0.01


@dataclass(frozen=True)
class Region:
    """A square of an image, in pixels."""

    left: int
    top: int
    side: int

    def of(self, image: Tensor) -> Tensor:
        """Return this square of an image (..., H, W)."""
        return image[..., self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        fidelity: PSNR and SSIM, without the border.
        difference: (3, H, W) in [0, 1], absolute, multiplied by `gain`.
        gain: a power of two.
        worst: the square with the largest squared error, outside of the border; None if the images are equal.
    """

    fidelity: Fidelity
    difference: Tensor
    gain: int
    worst: Region | None


def compare(a: Tensor, b: Tensor, border: int = 0) -> Comparison:
    """Compare two images in 8 bits.

    Args:
        a: (1 or 3, H, W) in [0, 1].
        b: the same size as `a`.
        border: pixels to ignore along each edge.

    Raises:
        ComparisonError: the sizes differ, or fewer than 11 pixels a side are left within the border.
    """
    fidelity = measure(a, b, border)
    steps = (codes(a) - codes(b)).abs()
    gain = _gain(steps)
    difference = (steps * (gain / 255)).clamp(0, 1).float()
    return Comparison(fidelity, difference, gain, _worst(inside(steps, border), border))


def _gain(steps: Tensor) -> int:
    """Return the largest power of two that clips at most 1 % of the difference."""
    at_least = torch.bincount(steps.flatten().int(), minlength=256).flip(0).cumsum(0).flip(0)
    gain = 1
    while gain < _MAX_GAIN and at_least[255 // (2 * gain) + 1] <= _MAX_CLIPPED_SHARE * steps.numel():
        gain *= 2
    return gain if bool(at_least[1]) else 1


def _worst(steps: Tensor, border: int) -> Region | None:
    if not bool(steps.any()):
        return None
    height, width = steps.shape[-2:]
    side = min(max(16, min(96, min(height, width) // 6)), height, width)
    # Sums over every square of that side, by an integral image.
    sums = F.pad(steps.square().sum(0).cumsum(0).cumsum(1), (1, 0, 1, 0))
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = divmod(int(squares.argmax()), squares.shape[1])
    return Region(border + left, border + top, side)
