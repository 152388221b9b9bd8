"""VapSR's hyper-parameters, and the memory and operations that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .costs import conv_flops
from .network import NetworkConfig


@dataclass(frozen=True)
class VapSRConfig(NetworkConfig):
    """Hyper-parameters; the defaults are the published VapSR x4."""

    scale: int = 4
    in_channels: int = 3
    out_channels: int = 3
    num_feat: int = 48
    num_blocks: int = 21
    attention_dim: int = 64
    conv_groups: int = 1

    def flops(self, height: int, width: int) -> float:
        return flops(self, height, width)


HALO = 2 + 3 * 2
"""Rows and columns on each side of a pixel that a block's result for it depends on: two 5x5, one dilated by 3."""

ATTENTION_ROWS, FEATURE_ROWS = 35, 15
"""Rows of attention maps and of features that a block's layers hold between strips, with those that wait for them.
All constants here are fitted to bytes alive, as `tests/inference/test_whole.py` counts them and holds them to 15 %,
in one case without kernels to 25 %."""

AT_ONCE_BYTES, IN_STRIPS_BYTES = 23, 28
"""Bytes at most for each channel of the attention and each pixel of an image, layer by layer, at once and in strips."""


def bytes_per_pixel(c: VapSRConfig, dtype: torch.dtype) -> int:
    half = 1 if dtype == torch.float32 else 2
    return 4 * max(c.num_feat * 4 + c.attention_dim * 4 // half, 8 * 3 * c.scale**2)


def strip_bytes(c: VapSRConfig, height: int, width: int, rows: int, size: int, kept: int | None) -> int:
    """Return the bytes alive at once in strips of `rows` rows.

    Args:
        c: Hyper-parameters.
        height: Height of the image.
        width: Width of the image.
        rows: Rows of a strip.
        size: Bytes of a number in the network's precision.
        kept: Bytes that a block's kernel keeps from strip to strip; None without a kernel.
    """
    if kept is None:
        blocks = c.num_blocks * (ATTENTION_ROWS * c.attention_dim * size + FEATURE_ROWS * c.num_feat * 4)
        dilated = 320 * c.attention_dim  # oneDNN's dilated convolution copies its input, with AVX2
        strip = rows * 7 * (c.num_feat + c.attention_dim) + 8192 + dilated
        pixel = (AT_ONCE_BYTES if rows >= height else IN_STRIPS_BYTES) * c.attention_dim
        return width * min(blocks + strip, height * pixel)
    delay = HALO * c.num_blocks  # rows that the last block is behind the first
    under_way = min(c.num_blocks, (height - rows) // HALO + 1)
    body = under_way * kept + width * 4 * c.num_feat * (min(delay + rows, height) + 2 * rows)
    head = width * min(delay + rows, height) * 4 * (c.num_feat + 2 * 64 if c.scale == 4 else 2 * 56)
    return max(body, head)


def flops(c: VapSRConfig, height: int, width: int) -> int:
    dim, attended = c.num_feat, c.attention_dim
    block = 2 * conv_flops(dim, attended, 1) + conv_flops(attended, attended, 1)
    block += 2 * conv_flops(attended, attended, 5, groups=attended)
    if c.scale == 4:
        head = conv_flops(dim, 64) + 4 * conv_flops(16, 4 * c.out_channels)
    else:
        head = conv_flops(dim, 56) + conv_flops(56, c.out_channels * c.scale**2)
    pixel = conv_flops(c.in_channels, dim) + c.num_blocks * block + conv_flops(dim, dim, groups=c.conv_groups) + head
    return height * width * pixel
