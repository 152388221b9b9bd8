"""ESRGAN's dense blocks without concatenation: each convolution writes its channels beside those that it reads.

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCV 2018 Workshops, arXiv:1809.00219.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...kernels import ops
from ...kernels.activations import Activation, activation_of
from .replacement import Replacement

CONVOLUTIONS = 5
"""Of a block. All but the last have an activation."""

RESIDUAL_SCALE = 0.2

Layers = list[tuple[nn.Conv2d, Activation | None]]


class DenseBlocks(Replacement):
    """Some dense blocks in a row, and a residual around all of them.

    Args:
        blocks: what they are a part of.
        layers: of each block.
    """

    def __init__(self, blocks: Any, layers: list[Layers]) -> None:
        super().__init__()
        self.of = blocks
        self._layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        last, _ = self._layers[0][-1]
        if not self.can_run(x, last.weight):
            return self.of(x)
        x = x.permute(0, 2, 3, 1)
        features = x.new_empty(*x.shape[:3], last.in_channels)
        trunk = features[..., : last.out_channels]
        trunk.copy_(x)
        for *growing, (last, _) in self._layers:
            for conv, activation in growing:
                read, written = conv.in_channels, conv.in_channels + conv.out_channels
                ops.conv2d(features[..., :read], conv, activation=activation, out=features[..., read:written])
            trunk.add_(ops.conv2d(features, last), alpha=RESIDUAL_SCALE)
        return torch.add(x, trunk, alpha=RESIDUAL_SCALE).permute(0, 3, 1, 2)


def dense_blocks(blocks: Any) -> nn.Module:
    """Return what computes an RRDB; itself if it has other layers, as those of ESRGAN+ have."""
    layers = [_layers_of(block) for block in blocks.children()]
    return DenseBlocks(blocks, layers) if all(layers) else blocks


def _layers_of(block: Any) -> Layers:
    """Return the layers of a dense block; none if they are of other kinds."""
    layers: Layers = []
    for i in range(1, CONVOLUTIONS + 1):
        part, is_last = getattr(block, f"conv{i}"), i == CONVOLUTIONS
        conv, *activations = part if isinstance(part, nn.Sequential) else [part] if is_last else [part, block.lrelu]
        activation = activation_of(activations[0]) if len(activations) == 1 else None
        is_known = not activations if is_last else activation is not None
        if not is_known or type(conv) is not nn.Conv2d or not ops.suits_kernel(conv):
            return []
        layers.append((conv, activation))
    return [] if getattr(block, "conv1x1", None) is not None else layers
