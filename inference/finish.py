"""Finish the result of a network: mix in the resampled source, and keep the colors of the source.

Both work on encoded values, as the networks do, and on whole images: what they change in one place depends on a few
pixels of the source around it, so tiles and strips of the network leave no seams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .reduction import reduce_to
from .resample import resample
from .rounding import round_to

_SHARPENING = 0.1, 0.0225
"""Undo what enlarging bicubically and reducing again does to fine detail: each step leaves at most 0.3 of an error."""
_STEPS = 4
_MORE_STEPS, _MORE = 6, 1.5
"""Then steps for places that are still off, and how many times what is missing there is added in each. Once below twice
the size, where a step leaves less to be missed."""
_SEARCHES = (64, 0.1), (256, 0.1), *((256, 0.2),) * 4
_FEW, _GAIN = 1000, 0.75
"""Then `reduce_to` for places that are off even so, with so many steps and so near, in codes of 8 bits; again because
rounding adds to each. Where more than a few remain, only while fewer than this share of them do: black and white noise
has no solution."""
_CODE = 1 / 255
_STEP_OFF, _SEARCH_OFF, _ROUND_OFF = 0.45, 0.48, 0.49
"""Correct a place that differs by more than this part of a code, once rounded to 8 bits: in steps, by `reduce_to`, by
`round_to`. Half a code is what is promised; each leaves the next a little room."""
_EXACT_OFF = 0.05
"""Correct a place that differs by more than this part of a code where results are stored with more than 8 bits."""


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
    """Correct a result so that reducing it to the size of the source returns the source.

    Iterative back-projection (Irani and Peleg, "Improving Resolution by Image Registration", 1991): the difference
    between the source and the reduced result is enlarged and added, and what is left of it again. Both ways are bicubic
    and antialiased, which is how networks are trained, so a good result hardly changes. After a fixed number of steps,
    only places that are still off are corrected; so no place depends on another, and frames do not flicker. What steps
    do not correct, because pixels that are black or white already cannot take their part, `reduce_to` does. No
    statistics of the image are used.

    The result, rounded to 8 bits, reduced and limited to [0, 1] as in any image file, is then within half a code of the
    source, except where pixels of hard black and white lie beside each other. Some of these have no solution at all;
    there, the differences are made small and shared.

    Args:
        result: (C, H', W') in [0, 1], larger than the source in both directions.
        source: (C, H, W) in [0, 1], on the same device.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".
        eight_bits: correct what rounding to 8 bits adds up to; False for results that are stored with more.

    Returns:
        (C, H', W') float32 in [0, 1].
    """
    corrected = torch.empty_like(result, dtype=torch.float32)
    for plane, of_source, place in zip(result, source, corrected, strict=True):  # one at a time, to save memory
        place.copy_(_corrected(plane.float(), of_source.float(), seamless, eight_bits))
    return corrected


def _corrected(plane: Tensor, source: Tensor, seamless: str, eight_bits: bool) -> Tensor:
    size, small = (plane.shape[1], plane.shape[0]), (source.shape[1], source.shape[0])

    def missing(plane: Tensor) -> Tensor:
        return source - resample(plane, small, seamless=seamless).clamp_(0, 1)

    def added(plane: Tensor, missing: Tensor) -> Tensor:
        return resample(_sharpened(missing, seamless), size, seamless=seamless).add_(plane).clamp_(0, 1)

    def stored(plane: Tensor) -> Tensor:
        return plane.mul(255).round_().div_(255) if eight_bits else plane

    for _ in range(_STEPS):
        plane = added(plane, missing(plane))
    more = 1 if min(plane.shape[0] / source.shape[0], plane.shape[1] / source.shape[1]) < 2 else _MORE
    for _ in range(_MORE_STEPS):
        left = missing(stored(plane))
        off = left.abs() > (_STEP_OFF if eight_bits else _EXACT_OFF) * _CODE
        if not bool(off.any()):
            return plane
        plane = added(plane, more * torch.where(off, left, 0))
    before = math.inf
    for steps, near in _SEARCHES:
        off = missing(stored(plane)).abs() > (_SEARCH_OFF if eight_bits else _EXACT_OFF) * _CODE
        count = int(off.sum())
        if count == 0:
            return plane
        if count > max(_FEW, _GAIN * before):
            break
        before = count
        tolerance = (near if eight_bits else 0.02) * _CODE
        plane = reduce_to(plane, source, off, tolerance, steps=steps, seamless=seamless)
    if not eight_bits:
        return plane
    off = missing(stored(plane)).abs() > _ROUND_OFF * _CODE
    if not 0 < int(off.sum()) <= _FEW:
        return plane
    return round_to(plane, source, off, _SEARCH_OFF * _CODE, seamless=seamless)


def _sharpened(plane: Tensor, seamless: str) -> Tensor:
    """Return a plane (H, W) with its fine detail amplified by `_SHARPENING`, along each axis."""
    for dim, axis in ((0, "y"), (1, "x")):
        first = _second_difference(plane, dim, wrap=seamless in (axis, "both"))
        second = _second_difference(first, dim, wrap=seamless in (axis, "both"))
        plane = plane + _SHARPENING[0] * first + _SHARPENING[1] * second
    return plane


def _second_difference(plane: Tensor, dim: int, *, wrap: bool) -> Tensor:
    """Return twice a plane (H, W) minus its two neighbors along a dimension."""
    pad = (0, 0, 1, 1) if dim == 0 else (1, 1, 0, 0)
    around = F.pad(plane[None, None], pad, "circular" if wrap else "replicate")[0, 0]
    size = plane.shape[dim]
    return 2 * plane - around.narrow(dim, 0, size) - around.narrow(dim, 2, size)
