"""Choose on the CPU how a network of spandrel computes: as it is, or with channels last and our kernels.

Our convolutions and our attention are two to three times as fast as PyTorch's, and its own convolutions are faster with
channels last; other layers may be slower. So it is measured once for each kind of network (measured.py). Our own
networks have layouts of their own.
"""

from __future__ import annotations

import logging

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..arch.other_families import use_kernels, weights_for_kernels
from . import memory
from . import precision as precisions
from .cores import CORES
from .errors import is_out_of_memory
from .measured import CLEAR, Choices, Speedup, kind_of, seconds_of, speedup

log = logging.getLogger(__name__)

LEAST_GAIN = 1.05
"""A network stays as it is unless the other way is so many times as fast, so that a busy moment decides nothing."""

CLEAR_GAIN = LEAST_GAIN * CLEAR

LARGEST_DIFFERENCE = 1e-4, 0.1
"""Of both results in fp32 and in bf16, relative to the largest sample: sums are taken in another order. In fp32,
RealESRGAN differs by 1e-5; a SPAN of random weights, which adds up large numbers, by 5e-5, and with PyTorch's own
convolutions by 2e-5."""

UNSTEADY = ("ATD",)
"""Architectures that sort pixels: rounding may change which pixels see each other."""

UNIT = 2.0**-23
"""A unit in the last place of 1 in fp32."""

PACKED_TIMES = 4
"""How many times as large the weights of a 3x3 convolution are as our kernel reads them."""

PASS_S = 0.03
"""The least seconds of a pass that can be compared."""

LONG_PASS_S = 0.5
"""After a pass of so many seconds, no larger size is tried."""

SIZES = (32, 64, 128, 192)

CHOICES = Choices("layouts.json")
"""1 for channels last and our kernels, by kind."""


def in_fast_layout(descriptor: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a network on the CPU as it is or, where that is faster, a copy with channels last and our kernels.

    Args:
        descriptor: on the CPU, in any precision. It is left alone.
    """
    if precisions.is_ours(descriptor.model) or not any(p.dim() == 4 for p in descriptor.model.parameters()):
        return descriptor
    kind = kind_of(descriptor)
    known = CHOICES.get(kind)
    if known == 0 or not _weights_fit(descriptor):
        return descriptor
    try:
        last = _with_channels_last(descriptor)
    except Exception as error:  # another version of spandrel may build its modules in another way
        if is_out_of_memory(error):
            raise
        log.debug("%s computes without our kernels: %s", descriptor.architecture.name, error)
        return descriptor
    if known is None:
        known = _measure(descriptor, last, kind)
    return last if known else descriptor


def _weights_fit(descriptor: ImageModelDescriptor) -> bool:
    """Return False if the packed weights would take more than a quarter of the memory that is free."""
    weights = weights_for_kernels(descriptor.model)
    packed = PACKED_TIMES * sum(weight.numel() * weight.element_size() for weight in weights)
    return packed <= memory.free_bytes(torch.device("cpu")) / 4


def _with_channels_last(descriptor: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a copy with channels last and our kernels; it shares the weights that our convolutions pack anew."""
    takes_kernels = descriptor.dtype == torch.float32 and not precisions.is_autocast(descriptor)
    last = precisions.copy_of(descriptor, weights_for_kernels(descriptor.model) if takes_kernels else ())
    packed = set()
    if takes_kernels:
        packed = {id(weight) for weight in weights_for_kernels(last.model)}
        use_kernels(last.model)
    for tensor in (*last.model.parameters(), *last.model.buffers()):
        if tensor.dim() == 4 and id(tensor) not in packed:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return last


def _measure(first: ImageModelDescriptor, last: ImageModelDescriptor, kind: str) -> bool:
    try:
        measured = _speedup(first, last)
    except Exception as error:  # a network may fail on a small image and still upscale others
        if is_out_of_memory(error):
            raise
        log.debug("The layout of %s was not measured: %s", first.architecture.name, error)
        return False
    if measured is None:
        return False  # kept by nobody: another file of this kind may be whole
    log.debug("%s with channels last and our kernels is %.2f times as fast", first.architecture.name, measured.gain)
    is_faster = measured.gain >= LEAST_GAIN
    CHOICES.put(kind, is_faster, for_all=measured.decides(LEAST_GAIN))
    return is_faster


def _speedup(first: ImageModelDescriptor, last: ImageModelDescriptor) -> Speedup | None:
    """Measure how many times as fast the other way is; None if results differ.

    A size at which one pass of each shows no clear gain gives way to a larger one. Small images hide a gain, because
    all weights are read for few pixels, and our kernels have larger ones: FBCNN's gain is 2.3 at 192 pixels, 1.6 at 96
    and 0.5 at 32.
    """
    measured: Speedup | None = None
    with CORES.shared() as give_way:
        for size in SIZES:
            image = torch.rand(1, first.input_channels, size, size, generator=torch.Generator().manual_seed(0))
            if not _agree(first, last, image):
                return None
            give_way()
            seconds = seconds_of(first, image)  # the first pass of a size also prepares the next ones
            is_largest = seconds >= LONG_PASS_S or size == SIZES[-1]
            if not is_largest and (seconds < PASS_S or seconds < CLEAR_GAIN * seconds_of(last, image)):
                continue
            measured = speedup(first, last, image)
            if is_largest or measured.gain >= CLEAR_GAIN:
                break
    return measured


def _agree(first: ImageModelDescriptor, last: ImageModelDescriptor, image: Tensor) -> bool:
    """Return True if both ways give the same image but for rounding.

    Of networks that sort pixels, the copy may also give what the original makes of an image that is brighter by a few
    units in the last place, or be twice as far from its result as that is.
    """
    one, other = (precisions.run(each, image) for each in (first, last))
    largest = LARGEST_DIFFERENCE[precisions.is_autocast(first)] * max(1.0, float(one.abs().max()))
    difference = _difference(one, other)
    if difference <= largest or first.architecture.id not in UNSTEADY:
        return difference <= largest
    brighter = [precisions.run(first, image * (1 + factor * UNIT)) for factor in (1, 2, 4)]
    steps = [_difference(one, each) for each in brighter]
    return difference <= 2 * max(steps) or min(_difference(other, each) for each in brighter) <= largest


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
