"""SPAN's blocks, with SiLU in the convolutions before it.

Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPR 2024 workshops,
arXiv:2311.12770.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...kernels import ops
from ...kernels.activations import activation_of
from .replacement import Replacement


class AttentionBlock(Replacement):
    """Three convolutions, and attention that is a function of each of their results."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.of = block
        self._activation = activation_of(block.act1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (results, those of the first convolution, attention), of the shape of `x`, (B, C, H, W)."""
        of = self.of
        first, second, third = (part.eval_conv for part in (of.c1_r, of.c2_r, of.c3_r))
        if not self.can_run(x, first.weight):
            return of(x)
        x = x.permute(0, 2, 3, 1)
        one = ops.conv2d(x, first, activation=self._activation)
        three = ops.conv2d(ops.conv2d(one, second, activation=self._activation), third)
        attention = torch.sigmoid(three).sub_(0.5)
        y = three.add_(x).mul_(attention)
        return y.permute(0, 3, 1, 2), one.permute(0, 3, 1, 2), attention.permute(0, 3, 1, 2)


def attention_block(block: Any) -> nn.Module:
    """Return what computes a block; itself where our convolutions do not."""
    parts = block.c1_r, block.c2_r, block.c3_r
    suits = all(ops.suits_kernel(part.eval_conv) and not part.has_relu for part in parts)
    return AttentionBlock(block) if suits else block
