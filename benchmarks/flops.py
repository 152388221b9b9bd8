"""What a network has to compute by its definition, whoever computes it and however.

Counted are the multiply-adds of the layers as the papers define them, two operations each: convolutions, linear maps,
the products of attention (q kᵀ and its product with v) and of HiT-SR's correlations. Not counted are norms,
activations, sums and gates (a few operations for each number), and what follows from the weights alone: the position
biases, which the authors' HiT-SR computes anew for every image. Pixels are the image's own: what a network adds to
fill its windows, what tiles share, and how little of a definition a clever implementation has to carry out (ours sums
HiT-SR's products in another order) changes nothing here.
"""

from __future__ import annotations

from typing import Any

from ..arch.hat import HATConfig
from ..arch.hitsr import HiTSRConfig
from ..arch.layers import upsample_steps
from ..arch.vapsr import VapSRConfig


def flops(config: Any, height: int, width: int) -> float | None:
    """For one image of this size; None for networks of other families."""
    if isinstance(config, HATConfig):
        return height * width * _hat(config) + sum(config.depths) * _gate(config)
    if isinstance(config, VapSRConfig):
        return height * width * _vapsr(config)
    if isinstance(config, HiTSRConfig):
        return height * width * _hitsr(config)
    return None


def _conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> int:
    """For one pixel of the output; a linear map is a kernel of 1."""
    return 2 * inputs // groups * outputs * kernel**2


def _attention(keys: int, dim: int) -> int:
    """Both products for one query, all heads together."""
    return 4 * keys * dim


def _pixel_shuffles(channels: int, scale: int) -> int:
    """The convolutions before each shuffle; each sees as many pixels as those before it have made."""
    total, pixels = 0, 1
    for step in upsample_steps(scale):
        total += pixels * _conv(channels, channels * step**2)
        pixels *= step**2
    return total


def _classical_head(dim: int, features: int, scale: int, channels: int) -> int:
    """Of HAT, and of HiT-SR with the upsampler "pixelshuffle"."""
    return _conv(dim, features) + _pixel_shuffles(features, scale) + scale**2 * _conv(features, channels)


# --- HAT ---------------------------------------------------------------------------------------------------------


def _hat(c: HATConfig) -> int:
    """A pixel: a query among the keys of its window, whether or not the window is cut by the border."""
    dim = c.embed_dim
    projections = _conv(dim, 3 * dim, 1) + _conv(dim, dim, 1)
    block = projections + _attention(c.window_size**2, dim) + 2 * _conv(dim, c.mlp_dim, 1)
    block += 2 * _conv(dim, c.compress_dim)
    overlapping = projections + _attention(c.overlap_window**2, dim) + 2 * _conv(dim, c.oca_mlp_dim, 1)
    residual = _conv(dim, dim) if c.resi_connection == "1conv" else 0
    body = sum(depth * block + overlapping + residual for depth in c.depths) + residual
    return _conv(c.in_channels, dim) + body + _classical_head(dim, c.num_feat, c.scale, c.in_channels)


def _gate(c: HATConfig) -> int:
    """A block's channel attention, once for the image."""
    return 2 * _conv(c.embed_dim, c.squeeze_dim, 1)


# --- VapSR -------------------------------------------------------------------------------------------------------


def _vapsr(c: VapSRConfig) -> int:
    dim, attended = c.num_feat, c.attention_dim
    block = 2 * _conv(dim, attended, 1) + _conv(attended, attended, 1)
    block += 2 * _conv(attended, attended, 5, groups=attended)
    if c.scale == 4:
        head = _conv(dim, 64) + 4 * _conv(16, 4 * c.out_channels)
    else:
        head = _conv(dim, 56) + _conv(56, c.out_channels * c.scale**2)
    return _conv(c.in_channels, dim) + c.num_blocks * block + _conv(dim, dim, groups=c.conv_groups) + head


# --- HiT-SR ------------------------------------------------------------------------------------------------------


def _hitsr(c: HiTSRConfig) -> float:
    dim = c.embed_dim
    residual = _conv(dim, dim) if c.resi_connection == "1conv" else _narrow_residual(dim)
    mlp = 2 * _conv(dim, c.mlp_dim, 1) + (_conv(c.mlp_dim, c.mlp_dim, 5, groups=c.mlp_dim) if c.variant == "SRF" else 0)
    body = 0.0
    for depth in c.depths:
        body += sum(_correlation(c, block) + mlp for block in range(depth)) + residual
    return _conv(c.in_channels, dim) + body + residual + _hitsr_head(c)


def _correlation(c: HiTSRConfig, block: int) -> float:
    """One block's, of one pixel, in the order of the paper: x_s = (q v'ᵀ / d + P) v' and x_c = v (vᵀ q / L)."""
    dim, half, hidden = c.embed_dim, c.embed_dim // 2, c.embed_dim // 5
    (h, w), (rh, rw) = c.window(block), c.patch(block)
    features = _conv(dim, dim, 1) + _conv(dim, hidden, 1) + _conv(hidden, hidden) + _conv(hidden, dim, 1)
    patches = 2 * half  # each value goes into one weighted sum
    spatial = _attention(h * w // (rh * rw), half)
    channel = 2 * _conv(half, half, 1)
    ngrams = 2 * dim + _bigrams(dim) / (h * w) if c.variant == "SNG" else 0
    return features + patches + spatial + channel + _conv(dim, dim, 1) + ngrams


def _bigrams(dim: int) -> int:
    """For one window of HiT-SNG: attention among the four windows of its bigram in both directions, and the merge."""
    half = dim // 2
    four = 4 * (_conv(half, 3 * half, 1) + _attention(4, half) + _conv(half, half, 1))
    return 2 * four + _conv(dim, dim, 1)


def _narrow_residual(dim: int) -> int:
    narrow = dim // 4
    return 2 * _conv(dim, narrow) + _conv(narrow, narrow, 1)


def _hitsr_head(c: HiTSRConfig) -> int:
    if c.upsampler == "pixelshuffledirect":
        return _conv(c.embed_dim, c.in_channels * c.scale**2)
    if c.upsampler == "pixelshuffle":
        return _classical_head(c.embed_dim, c.num_feat, c.scale, c.in_channels)
    if c.upsampler == "nearest+conv":
        f = c.num_feat
        return _conv(c.embed_dim, f) + (4 + 16 + 16) * _conv(f, f) + 16 * _conv(f, c.in_channels)
    return _conv(c.embed_dim, c.in_channels)
