"""How far a result is from the truth: the mean absolute difference, of pixels and, on request, of frequencies."""

from __future__ import annotations

import torch
from torch import Tensor


def loss(result: Tensor, truth: Tensor, frequency_weight: float = 0.0) -> Tensor:
    """L1 of (N, C, H, W), plus `frequency_weight` times the L1 of the orthonormal spectra.

    The L1 of pixels is content with a blurred texture; that of frequencies asks for each of its waves. Cho et al.,
    "Rethinking coarse-to-fine approach in single image deblurring", ICCV 2021, where the weight is 0.1.
    """
    total = (result - truth).abs().mean()
    if frequency_weight:
        spectrum = torch.fft.rfft2((result - truth).float(), norm="ortho")
        total = total + frequency_weight * torch.view_as_real(spectrum).abs().mean()
    return total
