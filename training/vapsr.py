"""VapSR's forward pass for a training on CPUs: its blocks by a kernel that has gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arch.vapsr import VAB, VapSR
from ..kernels.cpu import vab_gradients


def supports(net: VapSR, image: Tensor) -> bool:
    """Return whether `forward` can compute this network of such images."""
    return vab_gradients.supports(net.config.attention_dim, net.config.num_feat, image)


def forward(net: VapSR, image: Tensor) -> Tensor:
    """Return the network's result for images (B, C, H, W), with gradients; equal to its own up to rounding."""
    first = _convolved(image.contiguous(memory_format=torch.channels_last), net.conv_first)
    x = first.permute(0, 2, 3, 1)
    for block in net.body:
        assert isinstance(block, VAB)
        branch, norm = block.atten_branch, block.pixel_norm
        layers: tuple[Any, ...] = (
            block.proj_1, branch.pointwise, branch.depthwise, branch.depthwise_dilated, block.proj_2, norm
        )  # fmt: skip
        x = vab_gradients.block(x, norm.eps, [tensor for layer in layers for tensor in (layer.weight, layer.bias)])
    x = _convolved(x.permute(0, 3, 1, 2), net.conv_body) + first
    head = net.upsampler
    if net.config.scale == 4:
        x = F.leaky_relu(F.pixel_shuffle(_convolved(x, head[0]), 2), 0.1)
        return F.pixel_shuffle(_convolved(x, head[3]), 2)
    x = F.leaky_relu(_convolved(x, head[0]), 0.1)
    return F.pixel_shuffle(_convolved(x, head[2]), net.config.scale)


def _convolved(x: Tensor, conv: Any) -> Tensor:
    return F.conv2d(x, conv.weight, conv.bias, 1, conv.padding, 1, conv.groups)
