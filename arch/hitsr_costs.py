"""HiT-SR's memory and operations, counted from its hyper-parameters; how long strips wait is fitted to measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .costs import attention_flops, classical_head_flops, conv_flops

if TYPE_CHECKING:
    from .hitsr import HiTSRConfig


def bytes_per_pixel(c: HiTSRConfig, dtype: torch.dtype) -> int:
    half = 1 if dtype == torch.float32 else 2
    body = c.embed_dim * 10 + c.mlp_dim * 3 // half
    wide = c.upsampler in ("pixelshuffle", "nearest+conv")
    tail = (4 * c.num_feat if wide else 2 * c.in_channels) * c.scale**2
    return 4 * max(body, tail + c.embed_dim * 2)


@dataclass(frozen=True)
class Fit:
    """Rows of features alive at once, fitted to the bytes alive in images of many heights, in strips of many.

    They are counted as `tests/inference/test_whole.py` does, which holds every fit to 15 %.

    Attributes:
        waiting: For each row of a window in the network: what waits for windows that are not complete.
        at_once: For each row of an image that is low enough to be there at once.
        sharpness: How abruptly the one limit takes over from the other.
        strip: For each row of a strip, of which 16 count.
    """

    waiting: float
    at_once: float
    sharpness: float
    strip: int

    def rows(self, windows: int, height: int, strip_rows: int) -> float:
        """Return the rows for windows of `windows` rows in all, for an image in strips."""
        limits = (self.waiting * windows) ** -self.sharpness + (self.at_once * height) ** -self.sharpness
        return limits ** (-1 / self.sharpness) + self.strip * min(strip_rows, 16)


IN_ONE_PASS = Fit(waiting=3.95, at_once=5.9, sharpness=12.0, strip=5)
IN_ONE_PASS_NGRAMS = Fit(waiting=9.6, at_once=5.9, sharpness=3.5, strip=5)
BY_LAYERS = Fit(waiting=7.3, at_once=13.5, sharpness=12.0, strip=7)
BY_LAYERS_NGRAMS = Fit(waiting=11.0, at_once=13.5, sharpness=2.5, strip=7)
"""With and without the C kernels, HiT-SNG apart: its n-grams wait for the windows below."""

ONE_STRIP_MAPS, ONE_STRIP_MAPS_NGRAMS = 5.3, 5.6
"""Maps of the image that are alive in one strip with the C kernels; measured as the fits are."""


def strip_bytes(c: HiTSRConfig, height: int, width: int, rows: int, kept: int | None) -> int:
    """Return the bytes alive at once in strips of `rows` rows; `kept` by a block's kernels, None without kernels."""
    windows = sum(c.window(block)[0] for depth in c.depths for block in range(depth))
    ngrams = c.variant == "SNG"
    if rows >= height and kept is not None:
        alive, under_way = (ONE_STRIP_MAPS_NGRAMS if ngrams else ONE_STRIP_MAPS) * height, 1
    else:
        by_layers = kept is None
        fits = (BY_LAYERS, BY_LAYERS_NGRAMS) if by_layers else (IN_ONE_PASS, IN_ONE_PASS_NGRAMS)
        alive = fits[ngrams].rows(windows, height, rows)
        # In a lower image the first blocks are done before the last begin.
        under_way = math.ceil(sum(c.depths) * min(height / windows, 1))
    return int(4 * c.embed_dim * width * alive) + under_way * (kept or 0)


def flops(c: HiTSRConfig, height: int, width: int) -> float:
    dim = c.embed_dim
    residual = conv_flops(dim, dim) if c.resi_connection == "1conv" else _narrow_residual(dim)
    mlp = 2 * conv_flops(dim, c.mlp_dim, 1)
    if c.variant == "SRF":
        mlp += conv_flops(c.mlp_dim, c.mlp_dim, 5, groups=c.mlp_dim)
    body = 0.0
    for depth in c.depths:
        body += sum(_correlation(c, block) + mlp for block in range(depth)) + residual
    return height * width * (conv_flops(c.in_channels, dim) + body + residual + _head(c))


def _correlation(c: HiTSRConfig, block: int) -> float:
    """Count one pixel of a block in the order of the paper: x_s = (q v'ᵀ / d + P) v' and x_c = v (vᵀ q / L)."""
    dim, half, hidden = c.embed_dim, c.embed_dim // 2, c.embed_dim // 5
    (h, w), (rh, rw) = c.window(block), c.patch(block)
    features = conv_flops(dim, dim, 1) + conv_flops(dim, hidden, 1)
    features += conv_flops(hidden, hidden) + conv_flops(hidden, dim, 1)
    patches = 2 * half  # each value goes into one weighted sum
    spatial = attention_flops(h * w // (rh * rw), half)
    channel = 2 * conv_flops(half, half, 1)
    ngrams = 2 * dim + _bigrams(dim) / (h * w) if c.variant == "SNG" else 0
    return features + patches + spatial + channel + conv_flops(dim, dim, 1) + ngrams


def _bigrams(dim: int) -> int:
    """Count one window of HiT-SNG: attention in its four windows' bigrams in both directions, and the merge."""
    half = dim // 2
    four = 4 * (conv_flops(half, 3 * half, 1) + attention_flops(4, half) + conv_flops(half, half, 1))
    return 2 * four + conv_flops(dim, dim, 1)


def _narrow_residual(dim: int) -> int:
    narrow = dim // 4
    return 2 * conv_flops(dim, narrow) + conv_flops(narrow, narrow, 1)


def _head(c: HiTSRConfig) -> int:
    if c.upsampler == "pixelshuffledirect":
        return conv_flops(c.embed_dim, c.in_channels * c.scale**2)
    if c.upsampler == "pixelshuffle":
        return classical_head_flops(c.embed_dim, c.num_feat, c.scale, c.in_channels)
    if c.upsampler == "nearest+conv":
        f = c.num_feat
        return conv_flops(c.embed_dim, f) + (4 + 16 + 16) * conv_flops(f, f) + 16 * conv_flops(f, c.in_channels)
    return conv_flops(c.embed_dim, c.in_channels)
