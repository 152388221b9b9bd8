"""MATLAB's `imresize`, which made the small images of every super-resolution benchmark: bicubic, antialiased.

It works on the encoded values as they are. That is what networks are trained and compared on, and not how an image
should be made smaller for looking at (see `resize`, which works in linear light and treats its edges otherwise).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .resize import keys


def imresize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`imresize(x, [height width])` of 8-bit images, equal to MATLAB's to the last bit.

    x: (..., H, W) float in [0, 1], multiples of 1/255. `size`: (width, height), 1 or more. Returns (..., height, width)
    float32, multiples of 1/255: MATLAB rounds after each of its two passes, along the axis that shrinks most first.
    """
    width, height = size
    x = x.double() * 255
    shrinks_most = sorted([(-2, height), (-1, width)], key=lambda each: each[1] / x.shape[each[0]])
    for axis, length in shrinks_most:
        x = (_along(x.round_(), axis, length).clamp_(0, 255) + 0.5).floor_()  # halves go up, not to even
    return (x / 255).float()


def downscale(x: Tensor, scale: int) -> Tensor:
    """The small image of a benchmark: (..., H, W) -> (..., H / scale, W / scale); see `imresize`.

    Raises ValueError for sides that `scale` does not divide: benchmarks crop them first.
    """
    height, width = x.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"an image of {width}x{height} cannot shrink by {scale} exactly; crop it to a multiple")
    return imresize(x, (width // scale, height // scale))


def _along(x: Tensor, axis: int, size: int) -> Tensor:
    shape = [size, 1] if axis == -2 else [size]
    out = x.new_zeros(())
    for index, weight in zip(*_contributions(x.shape[axis], size), strict=True):
        out = out + x.index_select(axis, index.to(x.device)) * weight.to(x.device).view(shape)
    return out


def _contributions(length: int, size: int) -> tuple[Tensor, Tensor]:
    """For each output pixel, which input pixels make it and with what weights: both (taps, size)."""
    factor = size / length
    stretch = max(1 / factor, 1.0)
    center = (torch.arange(size, dtype=torch.float64) + 0.5) / factor - 0.5  # in input pixels, from 0
    first = torch.floor(center - 2 * stretch)
    position = first + torch.arange(math.ceil(4 * stretch) + 2, dtype=torch.float64)[:, None]
    weights = keys((position - center) / stretch)
    return position.long().clamp(0, length - 1), weights / weights.sum(0)  # the edge is repeated
