"""PSNR and SSIM as papers on super-resolution report them: of 8-bit images, without their border.

What BasicSR computes, with which HAT, VapSR and HiT-SR were measured: both images rounded to 8 bits, `border` pixels
(by convention the scale) cut off on every side; "Y" is BT.601 luma, not rounded, "RGB" is over all three channels.
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
    """Two images that cannot be compared pixel by pixel. The message is one sentence."""


@dataclass(frozen=True)
class Fidelity:
    """How near an image is to the truth: PSNR in decibels (infinite for equal images), SSIM from -1 to 1."""

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float

    @property
    def identical(self) -> bool:
        """Whether no pixel within the border differs."""
        return self.psnr_rgb == math.inf


def measure(result: Tensor, truth: Tensor, border: int) -> Fidelity:
    """All four figures of two images (1 or 3, H, W) in [0, 1].

    Gray counts as a color image of three equal channels, so that its Y lies in 16..235 as everywhere in BasicSR.
    MATLAB scripts that leave gray images as they are report 1.32 dB less for these.
    Raises ComparisonError where the sizes differ, or less than SSIM's window of 11 pixels is left within the border.
    """
    a, b = _comparable(result, truth, border, least=WINDOW)
    y_a, y_b = luma(a / 255), luma(b / 255)
    channels = [ssim(one, other) for one, other in zip(a, b, strict=True)]
    return Fidelity(_psnr(y_a, y_b), ssim(y_a, y_b), _psnr(a, b), sum(channels) / len(channels))


def mean(found: Sequence[Fidelity]) -> Fidelity:
    """The mean of each figure over one or more images, as papers take it: of the decibels themselves."""
    return Fidelity(*(sum(getattr(each, field.name) for each in found) / len(found) for field in fields(Fidelity)))


def psnr_y(result: Tensor, truth: Tensor, border: int) -> float:
    """The first figure of `measure` alone. Raises ComparisonError where nothing is left within the border."""
    a, b = _comparable(result, truth, border, least=1)
    return _psnr(luma(a / 255), luma(b / 255))


def luma(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] -> (..., H, W) float64 in 16..235, not rounded."""
    weights = torch.tensor(_LUMA, dtype=torch.float64, device=rgb.device)
    return 16 + torch.einsum("...chw,c->...hw", rgb.double(), weights)


def codes(image: Tensor) -> Tensor:
    """(1 or 3, H, W) in [0, 1] -> RGB (3, H, W) float64, whole numbers from 0 to 255."""
    return (255 * image.double().clamp(0, 1)).round().expand(3, -1, -1)


def inside(image: Tensor, border: int) -> Tensor:
    """What is left of (..., H, W) within a border."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def _comparable(result: Tensor, truth: Tensor, border: int, least: int) -> tuple[Tensor, Tensor]:
    """The codes of both within the border, at least `least` a side."""
    if result.shape[-2:] != truth.shape[-2:]:
        raise ComparisonError(f"images of {_size(result)} and {_size(truth)} cannot be compared pixel by pixel")
    shorter = min(truth.shape[-2:]) - 2 * border
    if shorter < least:
        left = "nothing" if shorter <= 0 else f"less than {least} pixels a side"
        raise ComparisonError(f"of an image of {_size(truth)} {left} is left within a border of {border} pixels")
    return codes(inside(result, border)), codes(inside(truth, border))


def _psnr(a: Tensor, b: Tensor) -> float:
    error = float((a - b).square().mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
