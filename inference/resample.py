"""Resample values to any size, separably: bicubic and antialiased.

The kernel is that of Keys 1981 with a = -0.5, stretched by the factor when shrinking, as in Pillow and PyTorch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_SUPPORT = 2.0  # radius of the kernel, in source pixels when enlarging


class Part(NamedTuple):
    """Part of an image to resample as if the whole image were given.

    Attributes:
        source: (width, height) of the whole image, in pixels.
        origin: (x, y) in the whole image of the first pixel that is given.
        box: (left, top, right, bottom) of the part wanted, in the whole result.
    """

    source: tuple[int, int]
    origin: tuple[int, int]
    box: tuple[int, int, int, int]


def resample(x: Tensor, size: tuple[int, int], *, seamless: str = "none", part: Part | None = None) -> Tensor:
    """Resample values by the bicubic kernel, without any transfer function or clamping.

    Args:
        x: (..., H, W) float.
        size: (width, height) of the result in pixels; of the whole one if only a part is wanted.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".
        part: `x` is part of an image, and part of the result is wanted. `x` must reach as far beyond it as the kernel:
            two pixels of the coarser grid.

    Returns:
        (..., height, width) float32, or the part wanted.
    """
    width, height = size
    x = x.float()
    wrap_x, wrap_y = seamless in ("x", "both"), seamless in ("y", "both")
    if part is None:
        return _resample_axis(_resample_axis(x, -2, height, wrap=wrap_y), -1, width, wrap=wrap_x)
    (whole_width, whole_height), (left, top), box = part
    x = _resample_axis(x, -2, height, wrap=wrap_y, whole=whole_height, first=top, wanted=slice(box[1], box[3]))
    return _resample_axis(x, -1, width, wrap=wrap_x, whole=whole_width, first=left, wanted=slice(box[0], box[2]))


def _resample_axis(
    x: Tensor,
    axis: int,
    size: int,
    *,
    wrap: bool,
    whole: int | None = None,
    first: int = 0,
    wanted: slice = slice(None),
) -> Tensor:
    length = x.shape[axis] if whole is None else whole
    if size == length:
        start, stop, _ = wanted.indices(size)
        return x.narrow(axis, start - first, stop - start)
    indices, weights = _taps(length, size, wrap)
    indices, weights = indices[:, wanted] - first, weights[:, wanted]
    if whole is not None:  # taps of no weight may lie outside
        indices = indices.clamp(0, x.shape[axis] - 1)
    shape = [-1, 1] if axis == -2 else [-1]
    out: Tensor | None = None
    for index, weight in zip(indices, weights, strict=True):
        term = x.index_select(axis, index.to(x.device)) * weight.to(x.device).view(shape)
        out = term if out is None else out.add_(term)
    assert out is not None
    return out


def _taps(length: int, size: int, wrap: bool) -> tuple[Tensor, Tensor]:
    """Return for each output pixel the indices of its source pixels and their weights (sum 1), both (taps, size)."""
    support = _SUPPORT * max(length / size, 1.0)
    wanted = torch.arange(size)
    first = (_center(wanted, length, size) - support).floor().long()
    indices = first + torch.arange(math.ceil(2 * support) + 1)[:, None]  # (taps, size)
    weights = weights_of(indices, wanted, length, size, wrap=wrap, dim=0)
    return indices % length if wrap else indices.clamp(0, length - 1), weights


def weights_of(given: Tensor, wanted: Tensor, length: int, size: int, *, wrap: bool, dim: int) -> Tensor:
    """Return how much of each given pixel is in each resampled one, float32.

    Args:
        given: numbers of pixels, of `length` along the axis.
        wanted: numbers of resampled pixels, of `size`. Both are broadcast against each other.
        wrap: whether the image tiles along the axis.
        dim: along which the pixels of a resampled one lie; their weights add up to 1.
    """
    weights = keys((given.double() + 0.5 - _center(wanted, length, size)) / max(length / size, 1.0))
    if not wrap:  # pixels beyond the edge do not exist: the others share their weight
        weights = torch.where((given >= 0) & (given < length), weights, 0.0)
    return (weights / weights.sum(dim, keepdim=True)).float()


def _center(wanted: Tensor, length: int, size: int) -> Tensor:
    """Return the centers of resampled pixels in pixel edges: pixel i covers [i, i + 1)."""
    return (wanted.double() + 0.5) * (length / size)


def keys(x: Tensor) -> Tensor:
    """Evaluate Keys' bicubic kernel (a = -0.5) at distances `x` in pixels."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))
