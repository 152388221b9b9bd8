"""HiT-SR's hyper-parameters, and the memory and operations that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..kernels import ops
from .costs import attention_flops, classical_head_flops, conv_flops
from .network import NetworkConfig


@dataclass(frozen=True)
class HiTSRConfig(NetworkConfig):
    """Hyper-parameters; the defaults are the published HiT-SRF x4. `variant` is "SIR", "SNG" or "SRF".

    `window_ratios[j] * base_window` is the window of the j-th block of every layer. `upsampler` is
    "pixelshuffledirect", "pixelshuffle", "nearest+conv" (x4) or "" (x1, a residual on the image).
    `mean=None` means the family's own: DIV2K's for RGB, else 0.
    """

    variant: str = "SRF"
    scale: int = 4
    in_channels: int = 3
    embed_dim: int = 60
    depths: tuple[int, ...] = (6,) * 4
    num_heads: tuple[int, ...] = (6,) * 4
    base_window: tuple[int, int] = (8, 8)
    window_ratios: tuple[float, ...] = (0.5, 1, 2, 4, 6, 8)
    mlp_dim: int = 120
    num_feat: int = 64
    patch_norm: bool = True
    upsampler: str = "pixelshuffledirect"
    resi_connection: str = "1conv"
    img_range: float = 1.0
    mean: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.variant not in ("SIR", "SNG", "SRF"):
            raise ValueError(f"HiT-SR has the variants SIR, SNG and SRF, not {self.variant!r}")
        if self.upsampler not in ("pixelshuffledirect", "pixelshuffle", "nearest+conv", ""):
            raise ValueError(f"HiT-SR has no head called {self.upsampler!r}")
        if self.upsampler == "nearest+conv" and self.scale != 4:
            raise ValueError(f"the head nearest+conv enlarges by 4, not by {self.scale}")
        if self.resi_connection not in ("1conv", "3conv"):
            raise ValueError(f"HiT-SR knows the residual connections 1conv and 3conv, not {self.resi_connection!r}")
        if max(self.depths) > len(self.window_ratios):
            raise ValueError(f"{max(self.depths)} blocks in a layer need as many window ratios: {self.window_ratios}")
        for heads in self.num_heads:
            if self.embed_dim % (2 * heads):
                raise ValueError(f"{self.embed_dim} channels cannot be shared by queries and values of {heads} heads")
        for block in range(max(self.depths)):
            window, base = self.window(block), self.base_window
            if any(w < 1 or (w > b and w % b) for w, b in zip(window, base, strict=True)):
                raise ValueError(f"a window of {window} is neither smaller than nor divisible by the base {base}")

    def window(self, block: int) -> tuple[int, int]:
        """Height and width of the window of the given block of a layer."""
        ratio = self.window_ratios[block]
        return int(self.base_window[0] * ratio), int(self.base_window[1] * ratio)

    def patch(self, block: int) -> tuple[int, int]:
        """Height and width of the patches that the spatial correlation sums up."""
        (h, w), (bh, bw) = self.window(block), self.base_window
        return h // min(h, bh), w // min(w, bw)

    def windows(self, block: int, num_heads: int) -> ops.Windows:
        """Windows, patches and heads of the given block of a layer."""
        return ops.Windows(self.window(block), self.patch(block), self.embed_dim, num_heads)

    def flops(self, height: int, width: int) -> float:
        return flops(self, height, width)


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
