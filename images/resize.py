"""Resampling to any size: antialiased, separable, in linear light, with premultiplied alpha.

Bicubic (Keys 1981, a = -0.5, stretched by the factor when shrinking). Lanczos-3 is a little sharper, but in linear
light its second and third lobes show as dark and bright rings beside highlights; Keys' kernel has one small lobe.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SUPPORT = 2.0  # source pixels either side, when enlarging


def resize(x: Tensor, size: tuple[int, int], *, seamless: str = "none") -> Tensor:
    """Resample sRGB-encoded images to `size` (width, height) in linear light.

    x: (N, C, H, W) float in [0, 1]. Returns (N, C, height, width) float32 in [0, 1]. Other profiles' transfer
    functions are near enough to sRGB's that the difference is not visible.
    seamless: axes along which the image tiles: "none", "x", "y" or "both".
    """
    out = _empty(x, size)
    for source, target in zip(x.flatten(0, 1), out.flatten(0, 1), strict=True):  # one plane of memory at a time
        target.copy_(to_srgb(resample(to_linear(source), size, seamless=seamless).clamp_(0, 1)))
    return out


def resize_with_alpha(
    color: Tensor, alpha: Tensor, size: tuple[int, int], *, seamless: str = "none"
) -> tuple[Tensor, Tensor]:
    """As `resize`, for straight alpha (N, 1, H, W): pixels count by their opacity. Returns (color, alpha)."""
    new_alpha = resample(alpha.float(), size, seamless=seamless)
    seen = new_alpha > 1 / 65536
    out = _empty(color, size)
    for n in range(color.shape[0]):
        for c in range(color.shape[1]):
            linear = to_linear(color[n, c])
            light = resample(linear * alpha[n, 0], size, seamless=seamless)
            light = light / new_alpha[n, 0].clamp_min(1 / 65536)
            if not bool(seen[n].all()):  # where nothing is seen, any color will do that does not differ at the edge
                light = torch.where(seen[n, 0], light, resample(linear, size, seamless=seamless))
            out[n, c] = to_srgb(light.clamp_(0, 1))
    return out, new_alpha.clamp_(0, 1)


def resample(x: Tensor, size: tuple[int, int], *, seamless: str = "none") -> Tensor:
    """Resample the values themselves, unclamped: (..., H, W) float -> (..., height, width) float32."""
    width, height = size
    x = x.float()
    x = _resample_axis(x, -2, height, wrap=seamless in ("y", "both"))
    return _resample_axis(x, -1, width, wrap=seamless in ("x", "both"))


def to_linear(x: Tensor) -> Tensor:
    """sRGB's electro-optical transfer function (IEC 61966-2-1)."""
    x = x.float()
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055).pow(2.4))


def to_srgb(x: Tensor) -> Tensor:
    """The inverse of `to_linear`, for values in [0, 1]."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.pow(1 / 2.4) - 0.055).clamp_(0, 1)


def _resample_axis(x: Tensor, axis: int, size: int, *, wrap: bool) -> Tensor:
    length = x.shape[axis]
    if size == length:
        return x
    indices, weights = _taps(length, size, wrap)
    shape = [size, 1] if axis == -2 else [size]
    out: Tensor | None = None
    for index, weight in zip(indices, weights, strict=True):
        term = x.index_select(axis, index.to(x.device)) * weight.to(x.device).view(shape)
        out = term if out is None else out.add_(term)
    assert out is not None
    return out


def _taps(length: int, size: int, wrap: bool) -> tuple[Tensor, Tensor]:
    """Which source pixels make each output pixel, and their weights, which sum to 1: both (taps, size)."""
    step = length / size
    stretch = max(step, 1.0)
    support = _SUPPORT * stretch
    center = (torch.arange(size, dtype=torch.float64) + 0.5) * step  # in pixel edges: pixel i covers [i, i + 1)
    first = (center - support).floor()
    position = first + torch.arange(math.ceil(2 * support) + 1, dtype=torch.float64)[:, None]  # (taps, size)
    weights = keys((position + 0.5 - center) / stretch)
    if not wrap:  # beyond the edge there is nothing: the pixels that exist share its weight
        weights = torch.where((position >= 0) & (position < length), weights, 0.0)
    weights = weights / weights.sum(0)
    indices = position.long()
    indices = indices % length if wrap else indices.clamp(0, length - 1)
    return indices, weights.float()


def keys(x: Tensor) -> Tensor:
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _empty(x: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.empty((*x.shape[:2], size[1], size[0]), dtype=torch.float32, device=x.device)
