"""Convolutions of features: 3x3 and large ones of all channels have kernels on CPUs, depthwise ones one on CUDA."""

from __future__ import annotations

from functools import partial
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import autotune
from ..activations import Activation
from ..constants import Constants
from ..cpu import convolution, fourier
from ..tensors import weights_of
from .choice import fastest

_KERNELS = convolution, fourier
_constants: WeakKeyDictionary[nn.Conv2d, Constants] = WeakKeyDictionary()


def conv2d(
    x: Tensor,
    conv: nn.Conv2d,
    factor: Tensor | None = None,
    *,
    activation: Activation | None = None,
    rows_padded: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """Convolve (B, H, W, in) into (B, H, W, out), in the dtype of the weights.

    Args:
        x: The features.
        conv: The layer; it keeps the size.
        factor: What the result is multiplied with, of its size.
        activation: What follows the layer, before the factor.
        rows_padded: False where `x` brings the rows above and below that the padding stands for.
        out: What is written and returned, without gradients, in the dtype of the weights and with channels last; it may
            be other channels of what `x` is a part of.
    """

    def plain() -> Tensor:
        y = F.conv2d(
            x.to(conv.weight.dtype).permute(0, 3, 1, 2),
            conv.weight,
            conv.bias,
            conv.stride,
            conv.padding if rows_padded else (0, conv.dilation[1] * (conv.kernel_size[1] // 2)),
            conv.dilation,
            conv.groups,
        )
        y = (y if activation is None else activation(y)).permute(0, 2, 3, 1)
        if factor is None:
            return y
        return y * factor if torch.is_grad_enabled() else y.mul_(factor)

    def c() -> Tensor:
        assert kernel is not None
        constants = _constants.setdefault(conv, Constants())
        kind, slope = (None, None) if activation is None else (activation.kind, activation.slope)
        sources = (*weights_of(conv), *(() if slope is None else (slope,)))
        weights = constants.get(("convolution", kind), sources, partial(kernel.pack_weights, conv, activation))
        y = kernel.convolve(x.float(), weights, rows_padded=rows_padded, out=out)
        return y if factor is None else y.mul_(factor)

    def triton() -> Tensor:
        from ..cuda import depthwise as cuda

        assert conv.bias is not None
        return cuda.depthwise(x, conv.weight, conv.bias, int(conv.dilation[0]), factor, rows_padded=rows_padded)

    kernel = next((kernel for kernel in _KERNELS if kernel.can_run(x, conv)), None)
    y = fastest(
        "depthwise convolution",
        plain,
        c=None if kernel is None else c,
        triton=triton if _is_depthwise(conv) else None,
        tensors=(x, factor, conv.weight, conv.bias),
        kind=(conv.groups, conv.dilation),
        tf32=autotune.tf32_convolutions,
    )
    return y if out is None or y is out else out.copy_(y)


def has_convolution_kernel() -> bool:
    """Return whether there are kernels for convolutions on this CPU."""
    return any(kernel.is_available() for kernel in _KERNELS)


def suits_kernel(conv: nn.Conv2d) -> bool:
    """Return whether one of them computes a layer if its weights and features are fp32 in CPU memory."""
    return any(kernel.suits(conv) and kernel.is_available() for kernel in _KERNELS)


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
