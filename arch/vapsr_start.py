"""Weights that let an untrained VapSR enlarge bilinearly, so that its training begins where interpolation ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def start_as_interpolation(net: Any) -> None:
    """Let an untrained VapSR enlarge bilinearly, so that its training begins where interpolation ends.

    net: a `VapSR`; this module does not import it, because `vapsr.py` imports this one.

    Three features carry the image unchanged past the trunk, and the head's first and last convolutions interpolate
    them; both activations leave positive numbers as they are. Everything else starts as it would, but in the head
    contributes little at first.
    """
    c, head = net.config, net.upsampler
    if c.in_channels != c.out_channels or c.scale not in (2, 3, 4):
        return
    colors = range(c.in_channels)
    _pass_on(net.conv_first, colors)
    net.conv_body.weight.mul_(0.1)
    _zero(net.conv_body.bias)
    if c.scale == 4:
        _interpolate(_conv(head, 0), colors, 2)
        _interpolate(_conv(head, 3), colors, 2)
    else:
        _pass_on(_conv(head, 0), colors)
        _interpolate(_conv(head, 2), colors, c.scale)


def _conv(head: nn.Module, index: int) -> nn.Conv2d:
    conv = head.get_submodule(str(index))
    assert isinstance(conv, nn.Conv2d)
    return conv


def _pass_on(conv: nn.Conv2d, colors: range) -> None:
    """The first output channels become the first input channels."""
    for k in colors:
        conv.weight[k] = 0
        conv.weight[k, k, 1, 1] = 1
        _zero(conv.bias, k)


def _interpolate(conv: nn.Conv2d, colors: range, scale: int) -> None:
    """The channels that a pixel shuffle makes one color of become bilinear samples of that color."""
    offset = (torch.arange(scale) + 0.5) / scale - 0.5  # of each new pixel from the old one's center
    taps = torch.stack([(-offset).clamp_min(0), 1 - offset.abs(), offset.clamp_min(0)], 1)  # (scale, 3)
    for k in colors:
        for y in range(scale):
            for x in range(scale):
                row = k * scale**2 + y * scale + x
                conv.weight[row] *= 0.1
                conv.weight[row, : len(colors)] = 0
                conv.weight[row, k] = taps[y][:, None] * taps[x][None, :]
                _zero(conv.bias, row)


def _zero(bias: Tensor | None, index: int | slice = slice(None)) -> None:
    if bias is not None:
        bias[index] = 0
