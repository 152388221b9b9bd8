"""Resampling to any size: antialiased, in linear light, with premultiplied alpha.

Bicubic, see inference/resample.py. Lanczos-3 is a little sharper, but in linear light its second and third lobes show
as dark and bright rings beside highlights; Keys' kernel has one small lobe.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..inference.resample import Part, resample
from .transfer import SRGB, Transfer


def resize(
    x: Tensor, size: tuple[int, int], *, seamless: str = "none", transfer: Transfer = SRGB, part: Part | None = None
) -> Tensor:
    """Resample images in linear light.

    The transfer functions of most color profiles are so close to sRGB's that the difference is not visible.

    Args:
        x: (N, C, H, W) float in [0, 1].
        size: (width, height) of the result in pixels.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".
        transfer: how values encode light.
        part: as `resample` takes it.

    Returns:
        (N, C, height, width) float32 in [0, 1], or the part wanted.
    """
    out = _empty(x, size, part)
    for source, target in zip(x.flatten(0, 1), out.flatten(0, 1), strict=True):  # one plane at a time, to save memory
        light = resample(transfer.to_linear(source), size, seamless=seamless, part=part)
        target.copy_(transfer.from_linear(light.clamp_(0, 1)))
    return out


def resize_with_alpha(
    color: Tensor,
    alpha: Tensor,
    size: tuple[int, int],
    *,
    seamless: str = "none",
    transfer: Transfer = SRGB,
    part: Part | None = None,
) -> tuple[Tensor, Tensor]:
    """Resample color with alpha in linear light; pixels are weighted by their opacity.

    Args:
        color: (N, C, H, W) float in [0, 1].
        alpha: (N, 1, H, W) float in [0, 1], straight.
        size: (width, height) of the results in pixels.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".
        transfer: how values of color encode light.
        part: as `resample` takes it.

    Returns:
        Color (N, C, height, width) and alpha (N, 1, height, width), float32 in [0, 1], or the part wanted of both.
    """
    new_alpha = resample(alpha.float(), size, seamless=seamless, part=part)
    seen = new_alpha > 1 / 65536
    out = _empty(color, size, part)
    for n in range(color.shape[0]):
        for c in range(color.shape[1]):
            linear = transfer.to_linear(color[n, c])
            light = resample(linear * alpha[n, 0], size, seamless=seamless, part=part)
            light = light / new_alpha[n, 0].clamp_min(1 / 65536)
            if not bool(seen[n].all()):  # invisible pixels: any color that is continuous at the edge
                light = torch.where(seen[n, 0], light, resample(linear, size, seamless=seamless, part=part))
            out[n, c] = transfer.from_linear(light.clamp_(0, 1))
    return out, new_alpha.clamp_(0, 1)


def _empty(x: Tensor, size: tuple[int, int], part: Part | None) -> Tensor:
    left, top, right, bottom = (0, 0, *size) if part is None else part.box
    return torch.empty((*x.shape[:2], bottom - top, right - left), dtype=torch.float32, device=x.device)
