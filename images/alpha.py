"""Take transparency through a network that has only color channels.

A network's receptive field spans tens of pixels, so the colors of transparent pixels (often black) would bleed into
the visible edge. And a network is never exact, so opaque pixels would come back as 254 of 255.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_transparent(color: Tensor, alpha: Tensor) -> Tensor:
    """Give fully transparent pixels the color of the visible ones around them; visible pixels do not change.

    Near an edge the color is that of the nearest visible pixels, far from it a smooth blend: the push-pull pyramid of
    Gortler et al., "The Lumigraph", 1996, section 3.4.

    Args:
        color: (C, H, W) in [0, 1].
        alpha: (1, H, W) in [0, 1], straight.

    Returns:
        (C, H, W); `color` itself if no pixel is visible.
    """
    weight = (alpha > 0).to(color.dtype)[None] * alpha.clamp_min(1 / 255)  # (1, 1, H, W): opaque pixels count most
    if not bool(weight.any()):
        return color
    filled = _push_pull(color[None] * weight, weight)[0]
    return torch.where(alpha > 0, color, filled)


def _push_pull(weighted: Tensor, weight: Tensor) -> Tensor:
    """Return colors (1, C, H, W), taken from coarser levels where the weight (1, 1, H, W) is zero."""
    known = weight > 0
    own = weighted / weight.clamp_min(1e-12)
    if bool(known.all()):
        return own
    # 3x3 before halving: pixels on both sides of a block's border see each other.
    coarse_weighted = F.avg_pool2d(_blur(weighted), 2, ceil_mode=True, count_include_pad=False)
    coarse_weight = F.avg_pool2d(_blur(weight), 2, ceil_mode=True, count_include_pad=False)
    # A block weighs as much as its share of known pixels, at least 1/16: a lone pixel would soon count for nothing.
    share = coarse_weight.clamp_min(1 / 16) / coarse_weight.clamp_min(1e-12)
    coarse = _push_pull(coarse_weighted * share, coarse_weight * share)
    coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., : weight.shape[-2], : weight.shape[-1]]
    return torch.where(known, own, coarse)


def _blur(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1)


def keep_in_local_range(enlarged: Tensor, source: Tensor, *, seamless: str = "none") -> Tensor:
    """Clamp enlarged alpha to the range of the 3x3 source pixels around it.

    Opaque pixels stay exactly opaque, empty ones exactly empty, and edges move by less than a source pixel.

    Args:
        enlarged: (1, s*H, s*W) in [0, 1].
        source: (1, H, W) in [0, 1].
        seamless: axes along which the image tiles: "none", "x", "y" or "both".

    Returns:
        (1, s*H, s*W).
    """
    padded = source[None]
    for axis, pad in (("x", (1, 1, 0, 0)), ("y", (0, 0, 1, 1))):
        wraps = seamless in (axis, "both")
        padded = F.pad(padded, pad, mode="circular" if wraps else "replicate")
    size = enlarged.shape[-2:]
    upper = F.interpolate(F.max_pool2d(padded, 3, 1), size=size, mode="nearest")[0]
    lower = F.interpolate(-F.max_pool2d(-padded, 3, 1), size=size, mode="nearest")[0]
    return enlarged.clamp(lower, upper)
