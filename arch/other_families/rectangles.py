"""Attention of DAT and RGT in rectangles: half of the heads in wide windows, half in high ones.

Chen et al., "Dual Aggregation Transformer for Image Super-Resolution", ICCV 2023, arXiv:2308.03364.
Chen et al., "Recursive Generalization Transformer for Image Super-Resolution", ICLR 2024, arXiv:2303.06373.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels import ops
from ...kernels.ops import linear
from .replacement import Replacement
from .windows import Windows


class Rectangles(Windows):
    """Windows whose biases a small network computes from distances."""

    def __init__(self, attention: Any) -> None:
        super().__init__((attention.H_sp, attention.W_sp), attention.num_heads, attention.scale)
        self.of = attention

    def bias_sources(self) -> tuple[Tensor, ...]:
        return tuple(self.of.pos.parameters())

    def by_pixels(self) -> Tensor:
        return self.of.pos(self.of.rpe_biases)[self.of.relative_position_index]


class TwoDirections(Replacement):
    """Attention in both kinds of rectangles.

    Args:
        attention: with `qkv` and `attns`.
        group, block: its place in the network, by which some blocks have shifted windows.
    """

    def __init__(self, attention: Any, group: int, block: int) -> None:
        super().__init__()
        self.of = attention
        self.windows: Any = nn.ModuleList(map(Rectangles, attention.attns))
        is_shifted = block % 4 == 0 if group % 2 else block % 4 == 2
        rows, columns = attention.shift_size if is_shifted else (0, 0)
        self.shifts = (rows, columns), (columns, rows)

    def attend(self, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the attention and the values; (B, H W, C) -> twice (B, H, W, C)."""
        of = self.of
        qkv = linear(x.contiguous(), of.qkv.weight, of.qkv.bias).unflatten(1, (height, width))
        side = max(of.split_size)
        padded = F.pad(qkv, (0, 0, 0, -width % side, 0, -height % side))  # zeros are seen as pixels
        halves = zip(*(part.chunk(2, -1) for part in padded.chunk(3, -1)), strict=True)  # q, k and v of each direction
        attended = [
            ops.attend_windows(windows, q, k, v, shift=shift)
            for windows, shift, (q, k, v) in zip(self.windows, self.shifts, halves, strict=True)
        ]
        return torch.cat(attended, -1)[:, :height, :width], qkv.chunk(3, -1)[2]

    def project(self, y: Tensor) -> Tensor:
        return linear(y, self.of.proj.weight, self.of.proj.bias).flatten(1, 2)


class AdaptiveSpatialAttention(TwoDirections):
    """DAT's, beside a depthwise convolution; each is multiplied with a map made of the other."""

    def __init__(self, attention: Any) -> None:
        super().__init__(attention, attention.rg_idx, attention.b_idx)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, H W, C) -> (B, H W, C)."""
        attended, values = self.attend(x, height, width)
        convolved = self.of.dwconv(values.permute(0, 3, 1, 2))
        of_channels = self.of.channel_interaction(convolved).permute(0, 2, 3, 1)
        of_pixels = self.of.spatial_interaction(attended.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = attended * torch.sigmoid(of_channels)
        return self.project(torch.addcmul(y, torch.sigmoid(of_pixels), convolved.permute(0, 2, 3, 1)))


class LocalAttention(TwoDirections):
    """RGT's, with a depthwise convolution of the values added."""

    def __init__(self, attention: Any) -> None:
        super().__init__(attention, attention.rs_id, attention.idx)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, H W, C) -> (B, H W, C)."""
        attended, values = self.attend(x, height, width)
        return self.project(attended + self.of.get_v(values.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
