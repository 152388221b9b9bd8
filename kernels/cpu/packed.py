"""Layers, weights, features and results of the kernels that convolve all channels with all channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..activations import Activation
from ..tensors import FLOATS, tensors_ok, weights_of
from .bands import map_bias

MIN_INPUTS = 8
"""With fewer channels, as in the first convolution of an image, transforms take longer than what they save."""


@dataclass(frozen=True, eq=False)
class Packed:
    """The weights of a convolution and of the activation after it.

    Attributes:
        kernel_size: Its rows and columns.
        outputs: Channels of the result.
        weight: As the kernel reads it.
        bias: Padded to a multiple of BLOCK channels.
        activation: Its kind; 0 for none.
        slope: What a leaky activation multiplies negative results with, padded likewise; 1 for others.
    """

    kernel_size: tuple[int, ...]
    outputs: int
    weight: Tensor
    bias: Tensor
    activation: int
    slope: Tensor


def packed(conv: nn.Conv2d, weight: Tensor, activation: Activation | None) -> Packed:
    """Return a layer's weights, of which `weight` is as a kernel reads it."""
    channels = conv.out_channels
    bias = weight.new_zeros(channels) if conv.bias is None else conv.bias
    slope = torch.ones(1) if activation is None or activation.slope is None else activation.slope
    kind = 0 if activation is None else int(activation.kind)
    return Packed(conv.kernel_size, channels, weight, map_bias(bias), kind, map_bias(slope.expand(channels)))


def is_dense(conv: nn.Conv2d) -> bool:
    """Return whether a layer keeps the size, with zeros around it, and maps every channel to every channel."""
    rows, columns = conv.kernel_size
    return (
        rows % 2 == columns % 2 == 1
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding in ((rows // 2, columns // 2), "same")
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.in_channels >= MIN_INPUTS
    )


def can_read(x: Tensor, conv: nn.Conv2d) -> bool:
    """Return whether kernels read these features and weights: fp32 weights in CPU memory, no gradients."""
    return tensors_ok(weights_of(conv), (torch.float32,)) and tensors_ok([x], FLOATS)


def result_of(x: Tensor, weights: Packed, rows_padded: bool, out: Tensor | None) -> Tensor:
    """Return where the result for `x` (B, H, W, inputs) is written: `out`, if it is given, else a new tensor."""
    batches, x_rows, width, _ = x.shape
    rows = x_rows if rows_padded else x_rows - weights.kernel_size[0] + 1
    y = x.new_empty(batches, rows, width, weights.outputs) if out is None else out
    assert y.shape == (batches, rows, width, weights.outputs)
    assert y.stride(3) == 1
    assert y.dtype == torch.float32
    return y


def arguments_of(x: Tensor, weights: Packed, y: Tensor, scratch: Tensor, threads: int) -> dict[str, Any]:
    """Return the fields of `arguments` that all of these kernels have."""
    return {
        "batches": x.shape[0], "inputs": x.shape[3], "outputs": weights.outputs, "threads": threads,
        "x_batch": x.stride(0), "x_row": x.stride(1), "x_pixel": x.stride(2),
        "y_batch": y.stride(0), "y_row": y.stride(1), "y_pixel": y.stride(2), "activation": weights.activation,
        "x": x.data_ptr(), "weight": weights.weight.data_ptr(), "bias": weights.bias.data_ptr(),
        "slope": weights.slope.data_ptr(), "y": y.data_ptr(), "scratch": scratch.data_ptr(),
    }  # fmt: skip
