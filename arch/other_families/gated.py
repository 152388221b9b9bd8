"""Gated convolutions of MoSR and MoESR, with Mish in the convolutions before it and nothing concatenated.

Yu and Wang, "MambaOut: Do We Really Need Mamba for Vision?", CVPR 2025, arXiv:2405.07992, with 3x3 convolutions in the
place of linear maps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...kernels import ops
from ...kernels.activations import activation_of
from .omnisr import ChannelNorm
from .replacement import Replacement


class GatedConvolutions(Replacement):
    """A block without what its result is added to.

    Args:
        block: the first convolution's outputs are a gate, channels that stay, and channels that are convolved again.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.of = block
        self.norm = ChannelNorm(block.norm)
        self._activation = activation_of(block.act)
        self._parts: list[nn.Conv2d] = []  # a list, because their weights are those of the block

    def gated(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        of, staying = self.of, self.of.split_indices[1]
        to_gate, to_gated = self._parts_of_first()
        normalized = self.norm(x).permute(0, 2, 3, 1)
        gate = ops.conv2d(normalized, to_gate, activation=self._activation)
        gated = ops.conv2d(normalized, to_gated)
        gate[..., :staying].mul_(gated[..., :staying])
        gate[..., staying:].mul_(of.conv(gated[..., staying:].permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return ops.conv2d(gate, of.fc2, activation=self._activation).permute(0, 3, 1, 2)

    def _parts_of_first(self) -> list[nn.Conv2d]:
        """Return the first convolution as two, made anew if its weights are others than before."""
        conv, hidden = self.of.fc1, self.of.split_indices[0]
        parts = self._parts
        if not parts or parts[0].weight.data_ptr() != conv.weight.data_ptr():
            parts = self._parts = [_outputs(conv, slice(hidden)), _outputs(conv, slice(hidden, None))]
        return parts


class MosrBlock(GatedConvolutions):
    def forward(self, x: Tensor) -> Tensor:
        if not self.can_run(x, self.of.fc1.weight):
            return self.of(x)
        return self.of.drop_path(self.gated(x)).add_(x).sub_(0.5)


class MoesrBlock(GatedConvolutions):
    def forward(self, x: Tensor) -> Tensor:
        if not self.can_run(x, self.of.fc1.weight):
            return self.of(x)
        return torch.addcmul(x, self.gated(x), self.of.gamma)


def mosr_block(block: Any) -> nn.Module:
    """Return what computes a block of MoSR; itself where our convolutions do not."""
    return MosrBlock(block) if _suits(block) else block


def moesr_block(block: Any) -> nn.Module:
    """Return what computes a block of MoESR; itself where our convolutions do not."""
    return MoesrBlock(block) if _suits(block) else block


def _suits(block: Any) -> bool:
    convs = block.fc1, block.fc2
    return all(type(conv) is nn.Conv2d and conv.kernel_size == (3, 3) and ops.suits_kernel(conv) for conv in convs)


def _outputs(conv: nn.Conv2d, channels: slice) -> nn.Conv2d:
    """Return a convolution of 3x3 with some of the outputs of another one, whose weights it shares."""
    weight = conv.weight.detach()[channels]
    part = nn.Conv2d(conv.in_channels, len(weight), 3, padding=1, device="meta")
    part.weight = nn.Parameter(weight, requires_grad=False)
    part.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach()[channels], requires_grad=False)
    return part
