"""MATLAB's `imresize`, bicubic and antialiased, which made the small images of every super-resolution benchmark.

It works on encoded values. Networks are trained and compared on that, but it is not how an image should be shrunk for
viewing: see `resize`, which works in linear light and treats edges differently.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inference.resample import keys


def imresize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize 8-bit images as `imresize(x, [height width])` does, equal to MATLAB to the last bit.

    MATLAB rounds after each of its two passes, of which the first runs along the axis that shrinks most.

    Args:
        x: (..., H, W) float in [0, 1], multiples of 1/255.
        size: (width, height) of the result in pixels, 1 or more.

    Returns:
        (..., height, width) float32, multiples of 1/255.
    """
    width, height = size
    x = x.double() * 255
    shrinks_most = sorted([(-2, height), (-1, width)], key=lambda each: each[1] / x.shape[each[0]])
    for axis, length in shrinks_most:
        x = (_along(x.round_(), axis, length).clamp_(0, 255) + 0.5).floor_()  # halves go up, not to even
    return (x / 255).float()


def downscale(x: Tensor, scale: int) -> Tensor:
    """Make the small image of a benchmark: (..., H, W) -> (..., H / scale, W / scale), with `imresize`.

    Raises:
        ValueError: `scale` does not divide both sides. Benchmarks crop images first.
    """
    height, width = x.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"an image of {width}x{height} cannot be shrunk by {scale}; crop its sides to multiples of it")
    return imresize(x, (width // scale, height // scale))


def _along(x: Tensor, axis: int, size: int) -> Tensor:
    shape = [size, 1] if axis == -2 else [size]
    out = x.new_zeros(())
    for index, weight in zip(*_contributions(x.shape[axis], size), strict=True):
        out = out + x.index_select(axis, index.to(x.device)) * weight.to(x.device).view(shape)
    return out


def _contributions(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Return for each output pixel the indices of its input pixels and their weights, both (taps, size)."""
    factor = size / length
    stretch = max(1 / factor, 1.0)
    center = (torch.arange(size, dtype=torch.float64) + 0.5) / factor - 0.5  # in input pixels
    first = torch.floor(center - 2 * stretch)
    position = first + torch.arange(math.ceil(4 * stretch) + 2, dtype=torch.float64)[:, None]
    weights = keys((position - center) / stretch)
    return position.long().clamp(0, length - 1), weights / weights.sum(0)  # the edge pixel is repeated
