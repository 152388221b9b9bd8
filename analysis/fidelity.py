"""PSNR as papers on super-resolution report it: of the luma of 8-bit pictures, without their border."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LUMA = (65.481, 128.553, 24.966)  # ITU-R BT.601, onto 16..235, as MATLAB's rgb2ycbcr


def luma(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] -> (..., H, W) float64 in 16..235, not rounded."""
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=rgb.device)
    return 16 + torch.einsum("...chw,c->...hw", rgb.double(), weights)


def psnr_y(result: Tensor, truth: Tensor, border: int) -> float:
    """Decibels of two RGB pictures (3, H, W) in [0, 1]: both rounded to 8 bits, `border` pixels cut off on every side.

    The border is by convention the scale. Returns infinity for equal pictures. Raises ValueError where the sizes differ
    or nothing is left within the border.
    """
    if result.shape != truth.shape:
        raise ValueError(f"pictures of {_size(result)} and {_size(truth)} cannot be compared pixel by pixel")
    if min(truth.shape[-2:]) <= 2 * border:
        raise ValueError(f"of a picture of {_size(truth)} nothing is left within a border of {border} pixels")
    a, b = (luma((255 * x.double().clamp(0, 1)).round() / 255) for x in (result, truth))
    inner = (..., slice(border, a.shape[-2] - border), slice(border, a.shape[-1] - border))
    error = float((a[inner] - b[inner]).square().mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
