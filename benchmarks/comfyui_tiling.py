"""How ComfyUI's "Upscale Image (using Model)" computes an image: tiles of 512 that share 32, one at a time, in fp32.

Written anew from what its nodes do, so that a network can be measured that way without ComfyUI. An image that fits a
tile is computed at once. Else tiles lie every 480 pixels, the last of a row is what is left there (at least the
overlap), and results join over a linear ramp at all four sides, divided by the sum of the ramps. Moving the model and
conversion from and to ComfyUI's layout are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TILE, OVERLAP = 512, 32


def spans(size: int, tile: int = TILE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """(start, length) of the tiles along an axis."""
    if size <= tile:
        return [(0, size)]
    starts = range(0, size - overlap, tile - overlap)
    return [(start, min(tile, size - start)) for start in starts]


def tiles(height: int, width: int, tile: int = TILE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """(height, width) of every tile that is computed."""
    return [(h, w) for _, h in spans(height, tile, overlap) for _, w in spans(width, tile, overlap)]


def upscale(
    image: Tensor, network: Callable[[Tensor], Tensor], scale: int, tile: int = TILE, overlap: int = OVERLAP
) -> Tensor:
    """(1, C, H, W) in [0, 1] -> (1, 3, sH, sW), on the same device."""
    height, width = image.shape[2:]
    if height <= tile and width <= tile:
        return network(image).clamp_(0, 1)
    total = image.new_zeros(1, 3, height * scale, width * scale)
    weight = image.new_zeros(1, 1, height * scale, width * scale)
    for top, h in spans(height, tile, overlap):
        for left, w in spans(width, tile, overlap):
            part = network(image[:, :, top : top + h, left : left + w])
            ramp = _ramp(h * scale, overlap * scale, part)[:, None] * _ramp(w * scale, overlap * scale, part)
            at = (..., slice(top * scale, (top + h) * scale), slice(left * scale, (left + w) * scale))
            total[at] += part * ramp
            weight[at] += ramp
    return total.div_(weight).clamp_(0, 1)


def _ramp(size: int, feather: int, like: Tensor) -> Tensor:
    """From 1/feather up to 1 and down again; what is no longer than the ramp weighs 1 throughout."""
    if feather >= size:
        return like.new_ones(size)
    up = torch.arange(1, size + 1, device=like.device, dtype=like.dtype).div_(feather).clamp_(max=1)
    return up * up.flip(0)
