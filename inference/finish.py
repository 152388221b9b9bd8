"""Finish the result of a network: mix in the resampled source, and keep the colors of the source.

Both work on encoded values, as the networks do, and on whole images: what they change in one place depends on a few
pixels of the source around it, so tiles and strips of the network leave no seams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .resample import area, resample

_SHARPENING = 1 / 8
"""Makes up for what enlarging bicubically and averaging over pixels again take from fine detail, to a few percent."""
_MOST_STEPS = 16
_EXACT = 0.02 / 255
_ALMOST_HALF_A_CODE = 0.45 / 255


@dataclass(frozen=True)
class Finish:
    """The part of a result that does not come from the network.

    Attributes:
        strength: 1 is the network's result, 0 the source resampled (bicubic, antialiased), and between them a mixture.
        keep_colors: correct the result by `keep_colors`.
    """

    strength: float = 1.0
    keep_colors: bool = False

    @property
    def active(self) -> bool:
        """True if it changes anything."""
        return self.strength < 1 or self.keep_colors

    def __call__(self, result: Tensor, source: Tensor, *, seamless: str = "none") -> Tensor:
        """Return the finished result (C, H', W') of a source (C, H, W), both in [0, 1] and on one device."""
        if self.strength < 1:
            result = mix(result, source, self.strength, seamless=seamless)
        return keep_colors(result, source, seamless=seamless) if self.keep_colors else result

    def settings(self) -> dict[str, str]:
        """Return what decides the result, by name; nothing of what changes nothing."""
        strength = {"strength": f"{self.strength:g}"} if self.strength < 1 else {}
        return strength | ({"keep-colors": "True"} if self.keep_colors else {})


def mix(result: Tensor, source: Tensor, weight: float | Tensor, *, seamless: str = "none") -> Tensor:
    """Mix a result with its source, which is resampled to its size: bicubic, antialiased, as Pillow does it.

    Args:
        result: (C, H', W') in [0, 1].
        source: (C, H, W) in [0, 1], on the same device.
        weight: of `result`, from 0 to 1; one, or one for each of its pixels (H', W').
        seamless: axes along which the image tiles: "none", "x", "y" or "both".

    Returns:
        (C, H', W') float32 in [0, 1].
    """
    mixed = torch.empty_like(result, dtype=torch.float32)
    size = result.shape[-1], result.shape[-2]
    for plane, of_source, place in zip(result, source, mixed, strict=True):  # one at a time, to save memory
        resampled = resample(of_source, size, seamless=seamless).clamp_(0, 1)
        place.copy_(resampled.lerp_(plane.float(), weight))
    return mixed


def keep_colors(result: Tensor, source: Tensor, *, seamless: str = "none", eight_bits: bool = True) -> Tensor:
    """Correct a result so that the mean of the pixels that each pixel of the source becomes is that pixel.

    The difference between the source and the result, averaged to its size, is enlarged smoothly and added. A second
    correction, which stays in the range and inside of a pixel of the source, makes up for the rest and for what
    clamping has taken. So averaging the result (Pillow's BOX, OpenCV's INTER_AREA) returns the source: within half a
    code also after the result was rounded to 8 bits. No statistics of the image are used.

    Args:
        result: (C, H', W') in [0, 1], at least as large as the source in both directions.
        source: (C, H, W) in [0, 1], on the same device.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".
        eight_bits: see to what rounding to 8 bits adds up to; False for results that are stored with more.

    Returns:
        (C, H', W') float32 in [0, 1].
    """
    corrected = torch.empty_like(result, dtype=torch.float32)
    for plane, of_source, place in zip(result, source, corrected, strict=True):  # one at a time, to save memory
        place.copy_(_corrected(plane.float(), of_source.float(), seamless, eight_bits))
    return corrected


def _corrected(plane: Tensor, source: Tensor, seamless: str, eight_bits: bool) -> Tensor:
    size, small = (plane.shape[1], plane.shape[0]), (source.shape[1], source.shape[0])
    missing = _sharpened(source - area(plane, small), seamless)
    plane = resample(missing, size, seamless=seamless).add_(plane).clamp_(0, 1)
    for _ in range(_MOST_STEPS):  # one suffices unless pixels of the result lie in two pixels of the source
        mean = area(plane, small)
        missing = source - mean
        if not bool((missing.abs() > _EXACT).any()):
            break
        plane = _moved(plane, mean, missing)
    for _ in range(_MOST_STEPS if eight_bits else 0):
        missing = source - area(plane.mul(255).round_().div_(255), small)
        missing = torch.where(missing.abs() > _ALMOST_HALF_A_CODE, missing, 0)
        if not bool(missing.any()):
            break
        plane = _moved(plane, area(plane, small), missing)
    return plane


def _moved(plane: Tensor, mean: Tensor, missing: Tensor) -> Tensor:
    """Return a plane (H', W') moved by `missing` (H, W) on average, in proportion to what each pixel has room for."""
    size = plane.shape[1], plane.shape[0]
    up = area(missing.clamp_min(0) / (1 - mean).clamp_min(1e-6), size)
    down = area((-missing).clamp_min(0) / mean.clamp_min(1e-6), size)
    return (plane + (1 - plane) * up - plane * down).clamp_(0, 1)


def _sharpened(plane: Tensor, seamless: str) -> Tensor:
    """Return a plane (H, W) plus `_SHARPENING` of its difference to the neighbors, along each axis."""
    for dim, axis in ((0, "y"), (1, "x")):
        pad = (0, 0, 1, 1) if dim == 0 else (1, 1, 0, 0)
        around = F.pad(plane[None, None], pad, "circular" if seamless in (axis, "both") else "replicate")[0, 0]
        size = plane.shape[dim]
        neighbors = around.narrow(dim, 0, size) + around.narrow(dim, 2, size)
        plane = plane + _SHARPENING * (2 * plane - neighbors)
    return plane
