"""Convolutions of features, where the depthwise ones of VapSR and HiT-SRF have a kernel on CUDA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import autotune
from .choice import fastest


def conv2d(x: Tensor, conv: nn.Conv2d, factor: Tensor | None = None, *, rows_padded: bool = True) -> Tensor:
    """Convolve (B, H, W, in) into (B, H, W, out), in the dtype of the weights.

    Args:
        x: The features.
        conv: The layer; it keeps the size.
        factor: What the result is multiplied with, of its size.
        rows_padded: False where `x` brings the rows above and below that the padding stands for.
    """

    def plain() -> Tensor:
        y = F.conv2d(
            x.to(conv.weight.dtype).permute(0, 3, 1, 2),
            conv.weight,
            conv.bias,
            conv.stride,
            conv.padding if rows_padded else (0, int(conv.padding[1])),
            conv.dilation,
            conv.groups,
        ).permute(0, 2, 3, 1)
        if factor is None:
            return y
        return y * factor if torch.is_grad_enabled() else y.mul_(factor)

    if not _is_depthwise(conv):
        return plain()

    def triton() -> Tensor:
        from ..cuda import depthwise as cuda

        assert conv.bias is not None
        return cuda.depthwise(x, conv.weight, conv.bias, int(conv.dilation[0]), factor, rows_padded=rows_padded)

    return fastest(
        "depthwise convolution",
        plain,
        c=None,
        triton=triton,
        tensors=(x, factor, conv.weight, conv.bias),
        kind=(conv.groups, conv.dilation),
        tf32=autotune.tf32_convolutions,
    )


def _is_depthwise(conv: nn.Conv2d) -> bool:
    """Return whether there is a kernel for it: 5x5, each channel for itself, and of the same size."""
    dilation = int(conv.dilation[0])
    return (
        conv.bias is not None
        and conv.kernel_size == (5, 5)
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.stride == (1, 1)
        and conv.dilation == (dilation, dilation)
        and conv.padding == (2 * dilation, 2 * dilation)
    )
