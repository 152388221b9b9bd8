"""VapSR's block with its gradients on a CPU, by vab_gradients.c: an image at a time, its maps in cache.

A training step of VapSR-S takes half of what it takes with PyTorch's layers. The values are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from . import build

LANES = 16
MAX_CHANNELS = 256


class Shape(build.Struct):
    """`shape` of vab_gradients.c."""

    _fields_ = (*build.fields(c_int64, "images", "height", "width", "features", "channels"), ("eps", c_float))


class Weights(build.Struct):
    """`weights` of vab_gradients.c: pointwise ones as (in, out) and (out, in), depthwise ones as (taps, channels)."""

    _fields_ = build.fields(
        c_void_p, "proj_1", "proj_1_back", "proj_1_bias", "pointwise", "pointwise_back", "pointwise_bias",
        "depthwise", "depthwise_bias", "dilated", "dilated_bias", "proj_2", "proj_2_back", "proj_2_bias",
        "norm", "norm_bias",
    )  # fmt: skip


class Kept(build.Struct):
    """`kept` of vab_gradients.c: the maps that the backward pass reads again."""

    _fields_ = build.fields(c_void_p, "u", "p", "d", "g", "normalized", "inverse")


_ARGUMENTS = [POINTER(Shape), POINTER(Weights), c_void_p, POINTER(Kept)]
SIGNATURES: build.Signatures = {
    "vab_forward": (c_int, [*_ARGUMENTS, c_void_p]),
    "vab_backward": (c_int, [*_ARGUMENTS, c_void_p, c_void_p, c_void_p]),
}


def supports(channels: int, features: int, x: Tensor) -> bool:
    """Return whether there is a kernel for blocks of these widths, of such an image or feature map."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    widths_fit = not (channels % LANES or features % LANES) and channels <= MAX_CHANNELS
    return widths_fit and build.load("vab_gradients", SIGNATURES) is not None


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


class _Block(torch.autograd.Function):
    """x (B, H, W, features) and a block's parameters -> (B, H, W, features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *parameters: Tensor) -> Tensor:
        x = x.contiguous()
        images, height, width, features = x.shape
        channels = parameters[0].shape[0]
        shape = Shape(images=images, height=height, width=width, features=features, channels=channels, eps=eps)
        kept = [x.new_empty(images, height, width, channels) for _ in range(4)]
        kept += [torch.empty_like(x), x.new_empty(images, height, width)]
        out = torch.empty_like(x)
        weights = _packed(parameters)
        _call("vab_forward", shape, weights, x, kept, out)
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
        _call("vab_backward", shape, weights, x, kept, gradients[0].contiguous(), to_x, sums)
        parts = list(sums.split(sizes))
        for index, rows in ((0, f), (2, a), (8, a)):
            parts[index] = parts[index].view(rows, -1).t()[:, :, None, None]
        for index in (4, 6):
            parts[index] = parts[index].view(25, a).t().reshape(a, 1, 5, 5)
        return to_x, None, *parts


def _packed(parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the weights in the order and layouts of `Weights`."""
    proj_1, bias_1, pointwise, bias_p, depthwise, bias_d, dilated, bias_dilated, proj_2, bias_2, norm, norm_bias = (
        parameters
    )
    return [
        *_both_ways(proj_1), bias_1, *_both_ways(pointwise), bias_p, _taps(depthwise), bias_d,
        _taps(dilated), bias_dilated, *_both_ways(proj_2), bias_2, norm, norm_bias,
    ]  # fmt: skip


def _both_ways(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a pointwise weight as (in, out) and as (out, in)."""
    matrix = weight.detach()[:, :, 0, 0]
    return matrix.t().contiguous(), matrix.contiguous()


def _taps(weight: Tensor) -> Tensor:
    """Return a depthwise weight as (taps, channels)."""
    return weight.detach().reshape(weight.shape[0], -1).t().contiguous()


def _call(name: str, shape: Shape, weights: Sequence[Tensor], x: Tensor, kept: Sequence[Tensor], *maps: Tensor) -> None:
    library = build.load("vab_gradients", SIGNATURES)
    assert library is not None
    structs = _pointers(Weights, weights), x.data_ptr(), _pointers(Kept, kept)
    if getattr(library, name)(shape, *structs, *(each.data_ptr() for each in maps)):
        raise MemoryError("there is not enough memory for a training step")


def _pointers(struct: type[build.Struct], tensors: Sequence[Tensor]) -> build.Struct:
    names = [field[0] for field in struct._fields_]
    return struct(**{name: tensor.data_ptr() for name, tensor in zip(names, tensors, strict=True)})
