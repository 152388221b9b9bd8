"""Layers of networks on strips: convolutions, pixel shuffles and the head made of both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import ops
from . import layers
from .strips import RowBuffer, Strips, copy_rows


def conv2d(x: Strips, conv: nn.Conv2d, factor: Strips | None = None) -> Strips:
    """Apply a convolution that keeps the size, rows and columns padded with zeros, in the dtype of its weights.

    Times `factor`, if there is one.
    """
    halo = int(conv.padding[0])
    strips, seen, above = iter(x), 0, torch.empty(0)
    factors = None if factor is None else RowBuffer(factor)

    def following() -> Tensor:
        nonlocal seen, above
        while True:
            rows = next(strips).to(conv.weight.dtype)
            first, seen = seen == 0, seen + rows.shape[1]
            last = seen == x.height
            if not halo or (first and last):
                return ops.conv2d(rows, conv, None if factors is None else factors.take(rows.shape[1]))
            outside = rows.new_zeros(rows.shape[0], halo, *rows.shape[2:]) if first or last else above
            rows = torch.cat([outside if first else above, rows, *([outside] if last else ())], 1)
            above = torch.empty(0) if last else copy_rows(rows[:, -2 * halo :], above)
            if (ready := rows.shape[1] - 2 * halo) > 0:
                return ops.conv2d(rows, conv, None if factors is None else factors.take(ready), rows_padded=False)

    return Strips.pulled(x.height, following)


def conv2d_rows(x: Tensor, conv: nn.Conv2d, start: int, stop: int) -> Tensor:
    """Return rows `start` to `stop` of a convolution of (B, H, W, C), padded with zeros."""
    if (start, stop) == (0, x.shape[1]):
        return ops.conv2d(x, conv)
    halo = int(conv.padding[0])
    above, below = max(halo - start, 0), max(stop + halo - x.shape[1], 0)
    rows = x[:, start - halo + above : stop + halo - below].to(conv.weight.dtype)
    if above or below:
        rows = F.pad(rows, (0, 0, 0, 0, above, below))
    return ops.conv2d(rows, conv, rows_padded=False)


def pixel_shuffle(x: Strips, scale: int) -> Strips:
    """(B, rows, W, C s²) -> (B, s rows, s W, C)."""
    return x.map(lambda strip: layers.pixel_shuffle(strip, scale), scale)


class Upsample(nn.Sequential):
    """Enlarge by 3x3 convolution and pixel shuffle: steps of 2 for a power of two, one step of 3, none for 1.

    The convolutions stand at the even indices, as in every checkpoint of this lineage (`upsample.0`, `upsample.2`...).
    """

    def __init__(self, scale: int, channels: int) -> None:
        steps = layers.upsample_steps(scale)
        modules: list[nn.Module] = []
        for step in steps:
            modules += [nn.Conv2d(channels, channels * step**2, 3, padding=1), nn.PixelShuffle(step)]
        super().__init__(*modules)
        self.steps = steps

    def forward(self, x: Strips) -> Strips:
        for conv, step in zip(layers.convolutions(self), self.steps, strict=True):
            x = pixel_shuffle(conv2d(x, conv), step)
        return x
