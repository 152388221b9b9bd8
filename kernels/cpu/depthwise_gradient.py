"""The gradient of the weights of a depthwise 5x5 convolution on a CPU, by depthwise_gradient.c."""

from __future__ import annotations

from ctypes import POINTER, c_int64, c_void_p

import torch
from torch import Tensor

from . import build

CHANNELS_MULTIPLE = 16


class Shape(build.Struct):
    """`shape` of depthwise_gradient.c."""

    _fields_ = build.fields(c_int64, "batches", "height", "width", "channels", "dilation", "threads")


SIGNATURES: build.Signatures = {"depthwise_gradient": (None, [POINTER(Shape), c_void_p, c_void_p, c_void_p])}


def supports(channels: int, dtype: torch.dtype) -> bool:
    """Return whether there is a kernel here for convolutions of this width in this dtype."""
    if channels % CHANNELS_MULTIPLE or dtype != torch.float32:
        return False
    return build.load("depthwise_gradient", SIGNATURES) is not None


def depthwise_gradient(padded: Tensor, gradient: Tensor, dilation: int) -> Tensor:
    """Return the gradient of the weights, summed over batches and pixels.

    Args:
        padded: The input with the zeros that the convolution adds, (B, H + 4 dilation, W + 4 dilation, C), fp32.
        gradient: The gradient of the output, (B, H, W, C), fp32.
        dilation: Of the convolution.

    Returns:
        (25, C), fp32, taps row by row.
    """
    library = build.load("depthwise_gradient", SIGNATURES)
    assert library is not None
    padded, gradient = padded.contiguous(), gradient.contiguous()
    batches, height, width, channels = gradient.shape
    assert padded.shape == (batches, height + 4 * dilation, width + 4 * dilation, channels)
    assert padded.dtype == gradient.dtype == torch.float32
    out = gradient.new_empty(batches, 25, channels)
    shape = Shape(
        batches=batches, height=height, width=width, channels=channels, dilation=dilation,
        threads=torch.get_num_threads(),
    )  # fmt: skip
    library.depthwise_gradient(shape, padded.data_ptr(), gradient.data_ptr(), out.data_ptr())
    return out.sum(0)
