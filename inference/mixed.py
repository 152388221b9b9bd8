"""Compute a network of spandrel in bf16 on a CPU, where that costs little exactness.

Convolutions and linear maps take bf16 (`torch.autocast`); norms, sums with the image and all that a network adds
itself stay in fp32. bf16 has 8 bits: an image loses as much at the entrance, and again at the exit, as in all layers
between. So the first and the last convolution, which take an image of three channels or make one, are exact: the
Compact network of realesr-animevideov3 agrees with fp32 to 62 dB instead of 55, at 95 % of the speed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from . import precision as precisions
from .cores import CORES
from .errors import is_out_of_memory

log = logging.getLogger(__name__)


def can_be_mixed(descriptor: ImageModelDescriptor) -> bool:
    """Return True for networks of spandrel whose weights are in fp32: others have lost what would be exact."""
    return not precisions.is_ours(descriptor.model) and descriptor.dtype == torch.float32


def in_bf16(descriptor: ImageModelDescriptor, image: Tensor) -> tuple[ImageModelDescriptor, Tensor, Tensor]:
    """Return a copy of a network on the CPU that computes in bf16, and what both make of an image.

    Args:
        descriptor: in fp32. It is left alone.
        image: (1, C, H, W) float32, which shows what a network runs first and last.

    Returns:
        The copy, its output, and the output in fp32. Where layers do not allow exact ends, or two dtypes at all, more
        is in bf16.
    """
    with CORES.shared() as give_way:
        exact, ends = _run_and_find_ends(descriptor, image)
        give_way()
        return *_in_bf16(descriptor, image, ends), exact


def _in_bf16(
    descriptor: ImageModelDescriptor, image: Tensor, ends: tuple[str, str] | None
) -> tuple[ImageModelDescriptor, Tensor]:
    ways: list[Callable[[ImageModelDescriptor], ImageModelDescriptor]] = [_autocast]
    if ends is not None:
        ways.insert(0, partial(_with_exact_ends, ends=ends))
    for build in ways:
        try:
            half = build(descriptor)
            return half, precisions.run(half, image)
        except Exception as error:  # a network may use its layers in ways of its own, as SPAN does
            if is_out_of_memory(error):
                raise
            log.debug("%s is not mixed: %s", descriptor.architecture.name, precisions.short_reason(error))
    half = precisions.cast(descriptor, torch.bfloat16, torch.device("cpu"))
    return half, precisions.run(half, image)


def _autocast(descriptor: ImageModelDescriptor) -> ImageModelDescriptor:
    half = precisions.copy_of(descriptor)
    precisions.autocast_to_bf16(half)
    return half


def _with_exact_ends(descriptor: ImageModelDescriptor, ends: tuple[str, str]) -> ImageModelDescriptor:
    half = _autocast(descriptor)
    first, last = (half.model.get_submodule(name) for name in ends)
    assert isinstance(first, nn.Conv2d)
    _replace(half.model, ends[0], _FirstConvolution(first))
    _replace(half.model, ends[1], _LastConvolution(last))
    return half


def _run_and_find_ends(descriptor: ImageModelDescriptor, image: Tensor) -> tuple[Tensor, tuple[str, str] | None]:
    """Return the output for an image, and the names of the plain convolutions that run first and last, and once."""
    ran: list[nn.Conv2d] = []
    convolutions = {module: name for name, module in descriptor.model.named_modules() if isinstance(module, nn.Conv2d)}
    hooks = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in convolutions]
    try:
        output = precisions.run(descriptor, image)
    finally:
        for hook in hooks:
            hook.remove()
    if len(ran) < 3 or any(ran.count(end) > 1 or not _is_plain(end) for end in (ran[0], ran[-1])):
        return output, None
    return output, (convolutions[ran[0]], convolutions[ran[-1]])


def _is_plain(module: nn.Conv2d) -> bool:
    """Return True if nothing but `nn.Conv2d` decides what a convolution computes."""
    return type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, key = name.rpartition(".")
    setattr(model.get_submodule(parent), key, module)


class _FirstConvolution(nn.Module):
    """A convolution of fp32 images as one of bf16 with three times the channels.

    With x = x' + x" and w = w' + w", each part rounded to bf16, it is w'x' + w'x" + w"x', summed in fp32. The fourth
    product is 2^-16 of the first.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.data
        rounded = weight.bfloat16()
        rest = (weight - rounded.float()).bfloat16()
        self.weight = nn.Parameter(torch.cat([rounded, rounded, rest], 1), requires_grad=False)
        self.bias = None if convolution.bias is None else convolution.bias
        self._convolve = partial(
            F.conv2d, stride=convolution.stride, padding=convolution.padding, dilation=convolution.dilation
        )

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        rounded = image.bfloat16()
        parts = torch.cat([rounded, (image - rounded.float()).bfloat16(), rounded], 1)
        return self._convolve(parts, self.weight, self.bias)


class _LastConvolution(nn.Module):
    """A convolution in fp32 behind layers in bf16."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            result: Tensor = self.convolution(features.float())
        return result
