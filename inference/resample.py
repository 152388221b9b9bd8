"""Resample values to any size, separably: bicubic, or by area.

Bicubic is Keys 1981 with a = -0.5, stretched by the factor when shrinking (antialiased), as Pillow and PyTorch do it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

_SUPPORT = 2.0  # radius of the kernel, in source pixels when enlarging


def resample(x: Tensor, size: tuple[int, int], *, seamless: str = "none") -> Tensor:
    """Resample values by the bicubic kernel, without any transfer function or clamping.

    Args:
        x: (..., H, W) float.
        size: (width, height) of the result in pixels.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".

    Returns:
        (..., height, width) float32.
    """
    width, height = size
    x = _along(x.float(), -2, height, partial(_bicubic_taps, wrap=seamless in ("y", "both")))
    return _along(x, -1, width, partial(_bicubic_taps, wrap=seamless in ("x", "both")))


def area(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mean of the values that each pixel of the result covers, in part or as a whole.

    Args:
        x: (..., H, W) float.
        size: (width, height) of the result in pixels.

    Returns:
        (..., height, width) float32.
    """
    (width, height), (high, wide) = size, x.shape[-2:]
    x = x.float()
    if high % height == 0 and wide % width == 0:
        return F.avg_pool2d(x.reshape(1, -1, high, wide), (high // height, wide // width)).view(
            *x.shape[:-2], *size[::-1]
        )
    return _along(_along(x, -2, height, _area_taps), -1, width, _area_taps)


def _along(x: Tensor, axis: int, size: int, taps: Callable[[int, int], tuple[Tensor, Tensor]]) -> Tensor:
    length = x.shape[axis]
    if size == length:
        return x
    indices, weights = taps(length, size)
    shape = [size, 1] if axis == -2 else [size]
    out: Tensor | None = None
    for index, weight in zip(indices, weights, strict=True):
        term = x.index_select(axis, index.to(x.device)) * weight.to(x.device).view(shape)
        out = term if out is None else out.add_(term)
    assert out is not None
    return out


def _bicubic_taps(length: int, size: int, wrap: bool) -> tuple[Tensor, Tensor]:
    """Return for each output pixel the indices of its source pixels and their weights (sum 1), both (taps, size)."""
    step = length / size
    stretch = max(step, 1.0)
    support = _SUPPORT * stretch
    center = (torch.arange(size, dtype=torch.float64) + 0.5) * step  # in pixel edges: pixel i covers [i, i + 1)
    first = (center - support).floor()
    position = first + torch.arange(math.ceil(2 * support) + 1, dtype=torch.float64)[:, None]  # (taps, size)
    weights = keys((position + 0.5 - center) / stretch)
    if not wrap:  # pixels beyond the edge do not exist: the others share their weight
        weights = torch.where((position >= 0) & (position < length), weights, 0.0)
    weights = weights / weights.sum(0)
    indices = position.long()
    indices = indices % length if wrap else indices.clamp(0, length - 1)
    return indices, weights.float()


def _area_taps(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Return indices and weights as `_bicubic_taps`, for the mean of the pixels that each output pixel covers."""
    step = length / size
    start = torch.arange(size, dtype=torch.float64) * step
    position = start.floor() + torch.arange(math.ceil(step) + 1, dtype=torch.float64)[:, None]  # (taps, size)
    weights = (torch.minimum(position + 1, start + step) - torch.maximum(position, start)).clamp_min(0)
    return position.long().clamp(0, length - 1), (weights / weights.sum(0)).float()


def keys(x: Tensor) -> Tensor:
    """Evaluate Keys' bicubic kernel (a = -0.5) at distances `x` in pixels."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))
