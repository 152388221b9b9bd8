"""VapSR's block with its gradients on a CPU, by vab_gradients.c: an image at a time, its maps in cache.

A training step of VapSR-S takes half of what it takes with PyTorch's layers. The values are the same up to rounding.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from .build import library

LANES = 16
MAX_CHANNELS = 256


def supports(channels: int, features: int, x: Tensor) -> bool:
    """Return whether there is a kernel for blocks of these widths, of such an image or feature map."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    widths_fit = not (channels % LANES or features % LANES) and channels <= MAX_CHANNELS
    return widths_fit and library("vab_gradients") is not None


def block(x: Tensor, eps: float, parameters: list[Tensor]) -> Tensor:
    """Return a block's result, with gradients.

    Args:
        x: (B, H, W, features), fp32.
        eps: of the normalization.
        parameters: weight and bias of the maps features -> channels and channels -> channels, of the 5x5 depthwise
            convolution and the one dilated by 3, of the map channels -> features, and of the normalization.

    Returns:
        (B, H, W, features).
    """
    result: Tensor = _Block.apply(x, eps, *parameters)
    return result


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "height", "width", "features", "channels")),
        ("eps", ctypes.c_float),
    )


class _Block(torch.autograd.Function):
    """x (B, H, W, features) and a block's parameters -> (B, H, W, features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *parameters: Tensor) -> Tensor:
        x = x.contiguous()
        images, height, width, features = x.shape
        channels = parameters[0].shape[0]
        shape = _Shape(images, height, width, features, channels, eps)
        kept = [x.new_empty(images, height, width, channels) for _ in range(4)]
        kept += [torch.empty_like(x), x.new_empty(images, height, width)]
        out = torch.empty_like(x)
        weights = _packed(parameters)
        _call("vab_forward", shape, _pointers(weights), x, _pointers(kept), out)
        ctx.save_for_backward(x, *kept, *weights)
        ctx.shape = shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, *saved = ctx.saved_tensors
        kept, weights = saved[:6], saved[6:]
        shape = ctx.shape
        a, f = shape.channels, shape.features
        to_x = torch.empty_like(x)
        sizes = (f * a, a, a * a, a, 25 * a, a, 25 * a, a, a * f, f, f, f)
        sums = x.new_zeros(sum(sizes))
        _call("vab_backward", shape, _pointers(weights), x, _pointers(kept), gradients[0].contiguous(), to_x, sums)
        parts = list(sums.split(sizes))
        for index, rows in ((0, f), (2, a), (8, a)):
            parts[index] = parts[index].view(rows, -1).t()[:, :, None, None]
        for index in (4, 6):
            parts[index] = parts[index].view(25, a).t().reshape(a, 1, 5, 5)
        return to_x, None, *parts


def _packed(parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the weights in the order and layouts of the kernel's `weights`."""
    lift, lift_b, point, point_b, near, near_b, far, far_b, project, project_b, norm, norm_b = parameters
    return [
        *_both_ways(lift), lift_b, *_both_ways(point), point_b,
        _taps(near), near_b, _taps(far), far_b, *_both_ways(project), project_b, norm, norm_b,
    ]  # fmt: skip


def _both_ways(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a pointwise weight as (in, out) and as (out, in)."""
    matrix = weight.detach()[:, :, 0, 0]
    return matrix.t().contiguous(), matrix.contiguous()


def _taps(weight: Tensor) -> Tensor:
    """Return a depthwise weight as (taps, channels)."""
    return weight.detach().reshape(weight.shape[0], -1).t().contiguous()


def _pointers(tensors: list[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _call(name: str, shape: _Shape, *arguments: Any) -> None:
    kernels = library("vab_gradients")
    assert kernels is not None
    pointers = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a for a in arguments]
    if getattr(kernels, name)(ctypes.byref(shape), *pointers):
        raise MemoryError("there is no memory left for a training step")
