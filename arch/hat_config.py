"""HAT's hyper-parameters, and the memory and operations that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..kernels.windows import round_up
from .costs import attention_flops, classical_head_flops, conv_flops
from .network import NetworkConfig


@dataclass(frozen=True)
class HATConfig(NetworkConfig):
    """Hyper-parameters; the defaults are the published HAT x4.

    Widths stand here as they stand in the weights (`compress_dim` instead of a compress ratio), because a ratio cannot
    be computed back from a rounded width. `mean=None` means the family's own: DIV2K's for RGB, else 0.
    """

    scale: int = 4
    in_channels: int = 3
    embed_dim: int = 180
    depths: tuple[int, ...] = (6,) * 6
    num_heads: tuple[int, ...] = (6,) * 6
    window_size: int = 16
    overlap_window: int = 24
    compress_dim: int = 60
    squeeze_dim: int = 6
    mlp_dim: int = 360
    oca_mlp_dim: int = 360
    num_feat: int = 64
    qkv_bias: bool = True
    patch_norm: bool = True
    resi_connection: str = "1conv"
    conv_scale: float = 0.01
    qk_scale: float | None = None
    img_range: float = 1.0
    mean: tuple[float, ...] | None = None
    shifted: bool = True

    def __post_init__(self) -> None:
        if self.overlap_window < self.window_size or (self.overlap_window - self.window_size) % 2:
            raise ValueError(
                f"an overlapping window of {self.overlap_window} around a window of {self.window_size} cannot be "
                "centered; it must be larger by an even number"
            )
        for heads in self.num_heads:
            if self.embed_dim % heads:
                raise ValueError(f"{self.embed_dim} channels cannot be shared by {heads} heads")
        if self.resi_connection not in ("1conv", "identity"):
            raise ValueError(f"HAT knows the residual connections 1conv and identity, not {self.resi_connection!r}")

    @property
    def shift(self) -> int:
        return self.window_size // 2 if self.shifted else 0

    def flops(self, height: int, width: int) -> float:
        return flops(self, height, width)


def bytes_per_pixel(c: HATConfig, dtype: torch.dtype) -> int:
    """Trunk, shortcut, residual and norm in fp32; qkv, its windows and the MLP in the precision; or the tail."""
    half = 1 if dtype == torch.float32 else 2
    body = c.embed_dim * (4 + 10 // half)
    tail = 4 * c.num_feat * c.scale**2 // half
    return 4 * max(body, tail + c.embed_dim * 2)


def strip_bytes(c: HATConfig, height: int, width: int, rows: int, size: int, gathered_rows: int) -> int:
    """Return the bytes alive at once in strips, whichever of its steps takes the most.

    Args:
        c: Hyper-parameters.
        height: Height of the image.
        width: Width of the image.
        rows: Rows of a strip.
        size: Bytes of a number in the network's precision.
        gathered_rows: Rows of windows whose keys and values are copied out of the map at a time.
    """
    dim, window, around = c.embed_dim, c.window_size, c.overlap_window
    height, width = round_up(height, window), round_up(width, window)
    block = height * (8 * dim + c.compress_dim * size) + rows * (16 * dim + 2 * c.mlp_dim * size + dim * size)
    gathered = 2 * around**2 * 2 * dim * size // window * gathered_rows
    overlap = height * 8 * dim + rows * (8 * dim + 5 * dim * size) + (around - window) * 3 * dim * size + gathered
    tail = height * 4 * dim + rows * 2.3 * c.scale**2 * c.num_feat * size
    return int(width * max(block, overlap, tail))


def flops(c: HATConfig, height: int, width: int) -> int:
    """Count each query among the keys of its window, whether or not the window is cut by the border."""
    dim = c.embed_dim
    projections = conv_flops(dim, 3 * dim, 1) + conv_flops(dim, dim, 1)
    block = projections + attention_flops(c.window_size**2, dim) + 2 * conv_flops(dim, c.mlp_dim, 1)
    block += 2 * conv_flops(dim, c.compress_dim)
    overlapping = projections + attention_flops(c.overlap_window**2, dim) + 2 * conv_flops(dim, c.oca_mlp_dim, 1)
    residual = conv_flops(dim, dim) if c.resi_connection == "1conv" else 0
    body = sum(depth * block + overlapping + residual for depth in c.depths) + residual
    pixel = conv_flops(c.in_channels, dim) + body + classical_head_flops(dim, c.num_feat, c.scale, c.in_channels)
    gate = 2 * conv_flops(dim, c.squeeze_dim, 1)  # of a block, once for the image
    return height * width * pixel + sum(c.depths) * gate
