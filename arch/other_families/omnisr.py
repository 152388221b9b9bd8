"""OmniSR's attention in windows and its norm over channels.

Wang et al., "Omni Aggregation Networks for Lightweight Image Super-Resolution", CVPR 2023, arXiv:2304.10244.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...kernels import ops
from ...kernels.ops import layer_norm, linear
from .replacement import Replacement
from .windows import TableWindows, UnbiasedWindows, Windows


class WindowAttention(Replacement):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.of = attention
        self.windows: dict[tuple[int, int], Windows] = {}

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows of windows, columns of windows, h, w, C) -> the same shape."""
        q, k, v = linear(x.flatten(0, 2), self.of.to_qkv.weight, None).chunk(3, -1)
        out = ops.attend_windows(self._windows_of(x.shape[3], x.shape[4]), q, k, v)
        return linear(out, self.of.to_out[0].weight, None).view(x.shape)

    def _windows_of(self, rows: int, columns: int) -> Windows:
        of, window = self.of, (rows, columns)
        if window not in self.windows:
            if of.with_pe:
                table, index = of.rel_pos_bias.weight, of.rel_pos_indices
                self.windows[window] = TableWindows(window, of.heads, of.scale, table, index)
            else:
                self.windows[window] = UnbiasedWindows(window, of.heads, of.scale)
        return self.windows[window]


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of (B, C, H, W)."""

    def __init__(self, norm: Any) -> None:
        super().__init__(norm.weight.shape[0], eps=norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x.permute(0, 2, 3, 1), self).permute(0, 3, 1, 2)
