"""ComfyUI's way of tiling, as in "Upscale Image (using Model)": tiles of 512, overlap 32, one at a time, in fp32.

Reimplemented from the behavior of its nodes, so that a network can be measured without ComfyUI. An image that fits in a
tile is computed at once. Otherwise tiles start every 480 pixels; the last of a row is what remains, at least the
overlap. Results are blended over a linear ramp on all four sides and divided by the sum of the ramps. Moving the model
and converting from and to ComfyUI's layout are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TILE, OVERLAP = 512, 32


def spans(size: int, tile: int = TILE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """Return (start, length) of the tiles along an axis."""
    if size <= tile:
        return [(0, size)]
    starts = range(0, size - overlap, tile - overlap)
    return [(start, min(tile, size - start)) for start in starts]


def tiles(height: int, width: int, tile: int = TILE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """Return (height, width) of every tile that is computed."""
    return [(h, w) for _, h in spans(height, tile, overlap) for _, w in spans(width, tile, overlap)]


def upscale(
    image: Tensor, network: Callable[[Tensor], Tensor], scale: int, tile: int = TILE, overlap: int = OVERLAP
) -> Tensor:
    """Upscale an image (1, C, H, W) in [0, 1] to (1, 3, sH, sW), on the same device."""
    height, width = image.shape[2:]
    if height <= tile and width <= tile:
        return network(image).clamp_(0, 1)
    total = image.new_zeros(1, 3, height * scale, width * scale)
    weight = image.new_zeros(1, 1, height * scale, width * scale)
    for top, h in spans(height, tile, overlap):
        for left, w in spans(width, tile, overlap):
            result = network(image[:, :, top : top + h, left : left + w])
            ramp = _ramp(h * scale, overlap * scale, result)[:, None] * _ramp(w * scale, overlap * scale, result)
            at = (..., slice(top * scale, (top + h) * scale), slice(left * scale, (left + w) * scale))
            total[at] += result * ramp
            weight[at] += ramp
    return total.div_(weight).clamp_(0, 1)


def _ramp(size: int, feather: int, like: Tensor) -> Tensor:
    """Return a ramp from 1/feather to 1 and down again; ones if `size` is no longer than the ramp."""
    if feather >= size:
        return like.new_ones(size)
    up = torch.arange(1, size + 1, device=like.device, dtype=like.dtype).div_(feather).clamp_(max=1)
    return up * up.flip(0)
