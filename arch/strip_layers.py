"""Layers of networks on strips: convolutions, pixel shuffles and the head made of both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import autotune
from . import layers
from .strips import RowBuffer, Strips, copy_rows


def conv2d(x: Strips, conv: nn.Module, factor: Strips | None = None) -> Strips:
    """Apply an nn.Conv2d that keeps the size, rows and columns padded with zeros, in the dtype of its weights.

    Times `factor`, if there is one.
    """
    assert isinstance(conv, nn.Conv2d)
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
                return _convolve(rows, conv, factors)
            outside = rows.new_zeros(rows.shape[0], halo, *rows.shape[2:]) if first or last else above
            rows = torch.cat([outside if first else above, rows, *([outside] if last else ())], 1)
            above = torch.empty(0) if last else copy_rows(rows[:, -2 * halo :], above)
            if rows.shape[1] > 2 * halo:
                return _convolve(rows, conv, factors, halo)

    return Strips.pulled(x.height, following)


def _convolve(x: Tensor, conv: nn.Conv2d, factors: RowBuffer | None, halo: int = 0) -> Tensor:
    """Convolve a strip with `halo` rows above and below that the padding stands for; times its rows of `factors`."""
    factor = None if factors is None else factors.take(x.shape[1] - 2 * halo)

    def plain() -> Tensor:
        y = layers.conv2d(x, conv, rows_padded=not halo)
        return y if factor is None else product(y, factor)

    def fused() -> Tensor:
        from ..kernels.cuda import depthwise as cuda

        assert conv.bias is not None
        return cuda.depthwise(x, conv.weight, conv.bias, int(conv.dilation[0]), factor, rows_padded=not halo)

    if not _is_depthwise(conv):
        return plain()
    kind, given = (conv.groups, conv.dilation), (x, factor, conv.weight, conv.bias)
    return autotune.best("depthwise convolution", kind, plain, fused, given, tf32=autotune.tf32_convolutions())


def _is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether it is one of those that there is a kernel for: 5x5, each channel for itself, and of the same size."""
    dilation = int(conv.dilation[0])
    return (
        conv.bias is not None
        and conv.kernel_size == (5, 5)
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.stride == (1, 1)
        and conv.dilation == (dilation, dilation)
        and conv.padding == (2 * dilation, 2 * dilation)
    )


def product(fresh: Tensor, other: Tensor) -> Tensor:
    """fresh * other; `fresh` is nobody else's to read."""
    return fresh * other if torch.is_grad_enabled() else fresh.mul_(other)


def conv2d_rows(x: Tensor, conv: nn.Module, start: int, stop: int) -> Tensor:
    """Return rows `start` to `stop` of a convolution of (B, H, W, C), padded with zeros."""
    assert isinstance(conv, nn.Conv2d)
    if (start, stop) == (0, x.shape[1]):
        return layers.conv2d(x, conv)
    halo = int(conv.padding[0])
    above, below = max(halo - start, 0), max(stop + halo - x.shape[1], 0)
    rows = x[:, start - halo + above : stop + halo - below].to(conv.weight.dtype)
    if above or below:
        rows = F.pad(rows, (0, 0, 0, 0, above, below))
    return layers.conv2d(rows, conv, rows_padded=False)


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
        for conv, step in zip(list(self)[::2], self.steps, strict=True):
            x = pixel_shuffle(conv2d(x, conv), step)
        return x
