"""Choose on the CPU how a network of spandrel computes: as it is, or with channels last and our 3x3 convolutions.

Our convolutions are two to three times as fast as PyTorch's, and its own are faster with channels last; other layers
may be slower. So it is measured once for each kind of network (measured.py). Our own networks have layouts of their
own.
"""

from __future__ import annotations

import logging

import torch
from spandrel import ImageModelDescriptor

from ..arch.convolutions import use_kernels, weights_for_kernels
from . import precision as precisions
from .cores import CORES
from .errors import is_out_of_memory
from .measured import Choices, Speedup, kind_of, seconds_of, speedup

log = logging.getLogger(__name__)

LEAST_GAIN = 1.05
"""A network stays as it is unless the other way is so many times as fast, so that a busy moment decides nothing."""

LARGEST_DIFFERENCE = 1e-4, 0.1
"""Of both results in fp32 and in bf16, relative to the largest sample: sums are taken in another order. In fp32,
RealESRGAN differs by 1e-5; a SPAN of random weights, which adds up large numbers, by 5e-5, and with PyTorch's own
convolutions by 2e-5."""

PASS_S = 0.03
"""The least seconds of a pass that can be compared."""

SIZES = (32, 64, 128, 192)

CHOICES = Choices("layouts.json")
"""1 for channels last and our convolutions, by kind."""


def in_fast_layout(descriptor: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a network on the CPU as it is or, where that is faster, a copy with channels last and our convolutions.

    Args:
        descriptor: on the CPU, in any precision. It is left alone.
    """
    if precisions.is_ours(descriptor.model) or not any(p.dim() == 4 for p in descriptor.model.parameters()):
        return descriptor
    kind = kind_of(descriptor)
    known = CHOICES.get(kind)
    if known == 0:
        return descriptor
    last = _with_channels_last(descriptor)
    if known is None:
        known = _measure(descriptor, last, kind)
    return last if known else descriptor


def _with_channels_last(descriptor: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a copy with channels last and our convolutions, whose weights it shares: their kernel packs them anew."""
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
    log.debug(
        "%s with channels last and our convolutions is %.2f times as fast", first.architecture.name, measured.gain
    )
    is_faster = measured.gain >= LEAST_GAIN
    CHOICES.put(kind, is_faster, for_all=measured.decides(LEAST_GAIN))
    return is_faster


def _speedup(first: ImageModelDescriptor, last: ImageModelDescriptor) -> Speedup:
    """Measure how many times as fast the other way is; 0 if results differ."""
    largest = LARGEST_DIFFERENCE[precisions.is_autocast(first)]
    with CORES.shared() as give_way:
        for size in SIZES:
            image = torch.rand(1, first.input_channels, size, size, generator=torch.Generator().manual_seed(0))
            one, other = (precisions.run(each, image) for each in (first, last))
            if not float((one - other).abs().max()) <= largest * max(1.0, float(one.abs().max())):
                return Speedup(0.0, True)
            give_way()
            if seconds_of(first, image) >= PASS_S:  # the first pass of a size also prepares the next ones
                break
        return speedup(first, last, image)
