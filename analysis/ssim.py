"""SSIM of Wang, Bovik, Sheikh and Simoncelli (2004), with the constants of their MATLAB script, as papers report it.

A Gaussian window of 11 pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03, L = 255, only where the window
lies inside the image, and without the downscaling to about 256 pixels of the authors' later script.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_ROWS_PER_STEP = 512  # bounds memory: five planes of float64


def ssim(a: Tensor, b: Tensor) -> float:
    """Return the mean SSIM of two planes (H, W) with values in 0..255, at least 11 pixels a side."""
    total, height = 0.0, a.shape[0] - WINDOW + 1
    for top in range(0, height, _ROWS_PER_STEP):
        rows = slice(top, min(top + _ROWS_PER_STEP, height) + WINDOW - 1)
        total += float(_map(a[rows].double(), b[rows].double()).sum())
    return total / (height * (a.shape[1] - WINDOW + 1))


def _map(a: Tensor, b: Tensor) -> Tensor:
    """Compute equation 13 of the paper at each position: (H, W) -> (H - 10, W - 10)."""
    mean_a, mean_b, square_a, square_b, product = _windowed(torch.stack([a, b, a * a, b * b, a * b]))
    variances = square_a - mean_a * mean_a + square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    alike = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return alike / ((mean_a * mean_a + mean_b * mean_b + _C1) * (variances + _C2))


def _windowed(planes: Tensor) -> Tensor:
    """Compute means weighted by the (separable) window: (N, H, W) -> (N, H - 10, W - 10)."""
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-distance.square() / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (1, 2):
        length = planes.shape[axis] - WINDOW + 1
        out = torch.zeros_like(planes.narrow(axis, 0, length))
        for offset, weight in enumerate(weights.tolist()):
            out.add_(planes.narrow(axis, offset, length), alpha=weight)
        planes = out
    return planes
