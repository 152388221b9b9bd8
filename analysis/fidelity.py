"""PSNR and SSIM as papers on super-resolution report them: on 8-bit images, ignoring a border.

This is what BasicSR computes, which measured HAT, VapSR and HiT-SR: both images are rounded to 8 bits, and `border`
pixels (by convention the scale) are cropped on every side. "Y" is BT.601 luma, not rounded; "RGB" is over all channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..errors import SupertileError
from .ssim import WINDOW, ssim

_LUMA = (65.481, 128.553, 24.966)  # ITU-R BT.601, onto 16..235, as MATLAB's rgb2ycbcr


class ComparisonError(SupertileError, ValueError):
    """Two images cannot be compared pixel by pixel. The message is one sentence."""


@dataclass(frozen=True)
class Fidelity:
    """The similarity of an image to the ground truth: PSNR in dB (infinite for equal images), SSIM from -1 to 1."""

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float

    @property
    def identical(self) -> bool:
        """True if no pixel within the border differs."""
        return self.psnr_rgb == math.inf


def measure(result: Tensor, truth: Tensor, border: int) -> Fidelity:
    """Return PSNR and SSIM of two images, on Y and on RGB.

    Gray counts as a color image of three equal channels, so that its Y lies in 16..235 as everywhere in BasicSR.
    MATLAB scripts that keep gray images gray report 1.32 dB less for them.

    Args:
        result: (1 or 3, H, W) in [0, 1].
        truth: the same size as `result`.
        border: pixels to ignore along each edge.

    Raises:
        ComparisonError: the sizes differ, or fewer than 11 pixels a side, SSIM's window, are left within the border.
    """
    a, b = _comparable(result, truth, border, min_side=WINDOW)
    y_a, y_b = luma(a / 255), luma(b / 255)
    channels = [ssim(one, other) for one, other in zip(a, b, strict=True)]
    return Fidelity(_psnr(y_a, y_b), ssim(y_a, y_b), _psnr(a, b), sum(channels) / len(channels))


def mean(fidelities: Sequence[Fidelity]) -> Fidelity:
    """Return the mean of each figure over one or more images; as in papers, PSNR is averaged in dB."""
    count = len(fidelities)
    return Fidelity(*(sum(getattr(each, field.name) for each in fidelities) / count for field in fields(Fidelity)))


def psnr_y(result: Tensor, truth: Tensor, border: int) -> float:
    """Return PSNR on Y alone, as `measure` does. Raises ComparisonError if nothing is left within the border."""
    a, b = _comparable(result, truth, border, min_side=1)
    return _psnr(luma(a / 255), luma(b / 255))


def luma(rgb: Tensor) -> Tensor:
    """Convert (..., 3, H, W) in [0, 1] to BT.601 luma (..., H, W) float64 in 16..235, not rounded."""
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=rgb.device)
    return 16 + torch.einsum("...chw,c->...hw", rgb.double(), weights)


def codes(image: Tensor) -> Tensor:
    """Round (1 or 3, H, W) in [0, 1] to 8 bits: RGB (3, H, W) float64, whole numbers from 0 to 255."""
    return (255 * image.double().clamp(0, 1)).round().expand(3, -1, -1)


def inside(image: Tensor, border: int) -> Tensor:
    """Crop `border` pixels from each edge of (..., H, W)."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def _comparable(result: Tensor, truth: Tensor, border: int, min_side: int) -> tuple[Tensor, Tensor]:
    """Return the codes of both images within the border; raise ComparisonError for less than `min_side` pixels."""
    if result.shape[-2:] != truth.shape[-2:]:
        raise ComparisonError(f"images of {_size(result)} and {_size(truth)} cannot be compared pixel by pixel")
    shorter = min(truth.shape[-2:]) - 2 * border
    if shorter < min_side:
        left = "nothing is left" if shorter <= 0 else f"fewer than {min_side} pixels a side are left"
        raise ComparisonError(f"{left} within a border of {border} pixels of an image of {_size(truth)}")
    return codes(inside(result, border)), codes(inside(truth, border))


def _psnr(a: Tensor, b: Tensor) -> float:
    error = float((a - b).square().mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
