"""ATD's layer: attention in windows, to a dictionary of tokens, and in groups of pixels that resemble the same token.

Zhang et al., "Transcending the Limit of Local Window: Advanced Super-Resolution Transformer with Adaptive Token
Dictionary", CVPR 2024, arXiv:2401.08209.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...kernels import ops
from ...kernels.constants import Constants
from ...kernels.ops import linear
from ..hat import window_bias_index
from .replacement import Replacement
from .windows import LARGEST_SCALE, TableWindows, UnbiasedWindows


class AtdLayer(Replacement):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.of = layer
        in_windows = layer.attn_win
        window = tuple(in_windows.window_size)
        table, index = in_windows.relative_position_bias_table, window_bias_index(window[0])
        self.windows = TableWindows(window, in_windows.num_heads, in_windows.scale, table, index)
        self.constants = Constants()

    def forward(
        self, x: Tensor, td: Tensor, x_size: tuple[int, int], params: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(B, H W, C) and tokens (B, M, C) -> the same for the next layer."""
        of, shift = self.of, (self.of.shift_size, self.of.shift_size)
        n = of.norm1(x)
        qkv = linear(n, of.wqkv.weight, of.wqkv.bias)
        from_tokens, similar = of.attn_atd(n, td, x_size)
        q, k, v = qkv.unflatten(1, x_size).chunk(3, -1)
        in_windows = ops.attend_windows(self.windows, q, k, v, shift=shift)
        y = x + from_tokens
        y += linear(in_windows, of.attn_win.proj.weight, of.attn_win.proj.bias).flatten(1, 2)
        y += linear(self.in_groups(qkv, similar), of.attn_aca.proj.weight, of.attn_aca.proj.bias)
        ffn = of.convffn
        mlp = ops.MlpLayers(ffn.fc1, ffn.fc2, ffn.dwconv.depthwise_conv[0], pre_norm=of.norm2)
        y = ops.mlp(y.unflatten(1, x_size), mlp, self.constants).flatten(1, 2)

        if of.is_last:
            return y, td
        mask = of.softmax(of.norm3(similar.transpose(-1, -2)))
        kept = torch.sigmoid(of.sigma)
        return y, kept * td + (1 - kept) * (mask @ y)

    def in_groups(self, qkv: Tensor, similar: Tensor) -> Tensor:
        """Return the attention of pixels sorted by the token that they resemble most; (B, N, 3 C) -> (B, N, C)."""
        batch, pixels, _ = qkv.shape
        of = self.of.attn_aca
        size = min(of.category_size, pixels)
        scale = math.exp(min(float(of.logit_scale.detach()), math.log(LARGEST_SCALE)))
        groups = UnbiasedWindows((1, size), of.num_heads, scale)
        order = torch.sort(torch.argmax(similar, dim=-1), dim=-1)[1]
        order += pixels * torch.arange(batch, device=order.device)[:, None]
        missing = -pixels % size
        sorted_order = torch.cat([order, order[:, pixels - missing :].flip(1)], 1)  # filled up with the last ones
        grouped = qkv.flatten(0, 1).index_select(0, sorted_order.flatten()).view(-1, 1, size, qkv.shape[-1])
        q, k, v = grouped.chunk(3, -1)
        attended = ops.attend_windows(groups, q, k, v).view(batch, pixels + missing, -1)[:, :pixels]
        back = torch.empty_like(order).flatten()
        back[order.flatten()] = torch.arange(back.numel(), device=back.device)
        return attended.flatten(0, 1).index_select(0, back).view(batch, pixels, -1)
