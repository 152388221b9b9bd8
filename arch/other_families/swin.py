"""Attention and blocks of networks that are made of Swin's: SwinIR and DRCT, Swin2SR, SCUNet, FDAT.

Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV 2021 workshops, arXiv:2108.10257.
Hsu et al., "DRCT: Saving Image Super-Resolution away from Information Bottleneck", CVPR 2024 workshops,
arXiv:2404.00722.
Conde et al., "Swin2SR: SwinV2 Transformer for Compressed Image Super-Resolution and Restoration", ECCV 2022 workshops,
arXiv:2209.11345.
Zhang et al., "Practical Blind Image Denoising via Swin-Conv-UNet and Data Synthesis", arXiv:2203.13278.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels import ops
from ...kernels.constants import Constants
from ...kernels.ops import layer_norm, linear
from ..hat import window_bias_index
from .replacement import Replacement
from .windows import LARGEST_SCALE, TableWindows, Windows

LARGEST_SCALE_OF_CUT_WINDOWS = 30.0
"""Scores are within 30 to either side and a bias of 16, so that a mask of -100 leaves less than 1e-10 of a weight."""


class SwinAttention(TableWindows):
    """Attention with its projections, as `ops.window_attention` takes it."""

    def __init__(self, attention: Any) -> None:
        table, index = attention.relative_position_bias_table, attention.relative_position_index
        super().__init__(tuple(attention.window_size), attention.num_heads, attention.scale, table, index)
        self.qkv, self.proj = attention.qkv, attention.proj


class SwinBlock(Replacement):
    """y = x + W-MSA(LN(x)), then y + MLP(LN(y))."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.shift = block.shift_size
        self.norm1, self.attn, self.norm2 = block.norm1, SwinAttention(block.attn), block.norm2
        self.fc1, self.fc2 = block.mlp.fc1, block.mlp.fc2
        self.constants = Constants()

    def forward(self, x: Tensor, x_size: tuple[int, int]) -> Tensor:
        """(B, H W, C) -> (B, H W, C), of whole windows."""
        x = x.contiguous().unflatten(1, x_size)
        y = x + ops.window_attention(layer_norm(x, self.norm1), self.attn, shift=self.shift, start=0, height=x_size[0])
        return ops.mlp(y, ops.MlpLayers(self.fc1, self.fc2, pre_norm=self.norm2), self.constants).flatten(1, 2)


class CosineWindows(Windows):
    """Windows of SwinV2, whose biases a small network computes from distances; queries are scaled before."""

    def __init__(self, attention: Any) -> None:
        super().__init__(tuple(attention.window_size), attention.num_heads, 1.0)
        self.of = attention

    def bias_sources(self) -> tuple[Tensor, ...]:
        return tuple(self.of.cpb_mlp.parameters())

    def by_pixels(self) -> Tensor:
        table = self.of.cpb_mlp(self.of.relative_coords_table).view(-1, self.num_heads)
        return 16 * torch.sigmoid(table[self.of.relative_position_index])


def swin_v2_block(block: Any) -> nn.Module:
    """Return what computes a block of Swin2SR: ours, unless its mask of -100 lets something through."""
    largest = float(block.attn.logit_scale.detach().exp().max())
    return SwinV2Block(block) if largest <= LARGEST_SCALE_OF_CUT_WINDOWS or not block.shift_size else block


class SwinV2Block(Replacement):
    """y = x + LN(W-MSA(x)), then y + LN(MLP(y)); attention by cosines."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.of, self.windows = block, CosineWindows(block.attn)
        self.constants = Constants()

    def forward(self, x: Tensor, x_size: tuple[int, int]) -> Tensor:
        """(B, H W, C) -> (B, H W, C), of whole windows."""
        x = x.contiguous().unflatten(1, x_size)
        y = layer_norm(self.attend(x), self.of.norm1, add_after=x)
        layers = ops.MlpLayers(self.of.mlp.fc1, self.of.mlp.fc2, post_norm=self.of.norm2)
        return ops.mlp(y, layers, self.constants).flatten(1, 2)

    def attend(self, x: Tensor) -> Tensor:
        attn, shift = self.of.attn, (self.of.shift_size, self.of.shift_size)
        bias = None
        if attn.q_bias is not None:
            bias = torch.cat((attn.q_bias, torch.zeros_like(attn.v_bias), attn.v_bias))
        qkv = linear(x, attn.qkv.weight, bias).unflatten(-1, (3, attn.num_heads, -1))
        q, k, v = (each.contiguous() for each in qkv.unbind(-3))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        q = q * attn.logit_scale[:, 0].clamp(max=math.log(LARGEST_SCALE)).exp()
        out = ops.attend_windows(self.windows, q.flatten(-2), k.flatten(-2), v.flatten(-2), shift=shift)
        return linear(out, attn.proj.weight, attn.proj.bias)


class ScunetAttention(Windows, Replacement):
    """(B, H, W, C) -> (B, H, W, C), of whole windows."""

    def __init__(self, attention: Any) -> None:
        super().__init__((attention.window_size, attention.window_size), attention.n_heads, attention.scale)
        self.shift = attention.window_size // 2 if attention.type != "W" else 0
        self.qkv, self.proj = attention.embedding_layer, attention.linear
        self.table = attention.relative_position_params

    def bias_sources(self) -> tuple[Tensor, ...]:
        return (self.table,)

    def by_pixels(self) -> Tensor:
        return self.table.flatten(1).T[window_bias_index(self.window[0])]

    def forward(self, x: Tensor) -> Tensor:
        return ops.window_attention(x.contiguous(), self, shift=self.shift, start=0, height=x.shape[1])


class FdatAttention(Windows, Replacement):
    """(B, H W, C) -> (B, H W, C), with zeros up to whole windows."""

    def __init__(self, attention: Any) -> None:
        super().__init__((attention.ws, attention.ws), attention.nh, attention.scale)
        self.qkv, self.proj, self.biases = attention.qkv, attention.proj, attention.bias

    def bias_sources(self) -> tuple[Tensor, ...]:
        return (self.biases,)

    def by_pixels(self) -> Tensor:
        return self.biases.permute(1, 2, 0)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        rows, columns = self.window
        x = F.pad(x.unflatten(1, (height, width)), (0, 0, 0, -width % columns, 0, -height % rows))
        y = ops.window_attention(x.contiguous(), self, shift=0, start=0, height=x.shape[1])
        return y[:, :height, :width].flatten(1, 2)
