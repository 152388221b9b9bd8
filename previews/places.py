"""Choose the places of crops: where an image has texture and edges, not sky, and not all in one corner."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.region import Box

_FAINT, _STRONG = 0.01, 0.12
"""Steps between neighboring pixels: below the first is noise; above the second, more contrast says nothing more."""
_LEAST_DISTANCE = 0.75
"""Of two squares, in sides."""


def place_at(center: tuple[int, int], side: int, size: tuple[int, int]) -> Box:
    """Return the square around a pixel, moved inside the image, and no larger than it."""
    (width, height), (wide, high) = size, (min(side, size[0]), min(side, size[1]))
    left = min(max(0, center[0] - wide // 2), width - wide)
    top = min(max(0, center[1] - high // 2), height - high)
    return Box(left, top, left + wide, top + high)


def choose_places(luma: Tensor, count: int, side: int) -> list[tuple[Box, float]]:
    """Return up to `count` squares that hardly overlap, and how much each of them shows, the first shows most.

    In turn these are looked for: texture, which is the mean step between neighboring pixels, of which faint ones do not
    count and strong ones only so far; edges, which is the share of strong steps; and half as much texture, as of skin,
    where the rest is fur or foliage. Far from the others counts more than near.

    Args:
        luma: (H, W) in [0, 1].
        count: at most so many; fewer if the image holds no more.
        side: of a square in pixels; the image may be smaller.

    Returns:
        Pairs of a square and its detail, from 0 (flat) to 1.
    """
    height, width = luma.shape
    steps = _steps(luma)
    texture = (steps - _FAINT).clamp(0, _STRONG - _FAINT) / (_STRONG - _FAINT)
    stride = max(1, side // 8)
    detail, edges = (_window_means(each, side, stride) for each in (texture, (steps > _STRONG).float()))
    moderate = torch.where(detail <= detail.max() / 2, detail, detail / 8)
    wanted = (detail, edges + 0.25 * detail, moderate)
    tops, lefts = _starts(height, side, stride)[:, None], _starts(width, side, stride)
    spread = torch.ones_like(detail)
    places: list[tuple[Box, float]] = []
    while len(places) < count and bool((spread > 0).any()):
        score = (wanted[len(places) % len(wanted)] + 1e-6) * spread
        if not places and not bool(detail.any()):  # a flat image: its middle
            score[score.shape[0] // 2, score.shape[1] // 2] += 1
        row, column = divmod(int(score.flatten().argmax()), score.shape[1])
        left, top = int(lefts[column]), int(tops[row, 0])
        box = Box(left, top, min(left + side, width), min(top + side, height))
        places.append((box, float(detail[row, column])))
        away = torch.maximum((tops - top).abs(), (lefts - left).abs()) / side
        spread = torch.minimum(spread, (0.4 + 0.2 * away).clamp_max(1.0) * (away >= _LEAST_DISTANCE))
    return places


def _steps(luma: Tensor) -> Tensor:
    """Return the steps to the next pixels (H, W), of 2x2 means, in which noise is halved."""
    padded = F.pad(luma[None, None], (0, 2, 0, 2), mode="replicate")
    smooth = F.avg_pool2d(padded, 2, 1)[0, 0]
    across = (smooth[:-1, 1:] - smooth[:-1, :-1]).abs()
    down = (smooth[1:, :-1] - smooth[:-1, :-1]).abs()
    return torch.maximum(across, down)


def _window_means(values: Tensor, side: int, stride: int) -> Tensor:
    """Return the means over squares at `_starts`."""
    height, width = values.shape
    high, wide = min(side, height), min(side, width)
    total = F.pad(values.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    y, x = _starts(height, side, stride)[:, None], _starts(width, side, stride)
    sums = total[y + high, x + wide] - total[y, x + wide] - total[y + high, x] + total[y, x]
    return (sums / (high * wide)).float()


def _starts(length: int, side: int, stride: int) -> Tensor:
    """Return where squares begin along an axis: at multiples of `stride`, and at the end."""
    last = max(0, length - side)
    return torch.arange(0, last + stride, stride).clamp_max(last)
