"""Measure the overlap that tiles of a network of unknown architecture need, on the network itself.

A small image is computed whole, and once more without its left side. The difference at each distance from this cut is
the error that a tile which ends there would make. This assumes that the receptive field is as high as it is wide, and
that it fits into the small image.
"""

from __future__ import annotations

import logging
import weakref

import torch
from spandrel import ImageModelDescriptor, ModelTiling
from torch import Tensor, nn

from . import precision as precisions

log = logging.getLogger(__name__)

DEFAULT_OVERLAP = 32
"""Taken if the overlap cannot be measured."""

OVERLAPS = (16, 24, DEFAULT_OVERLAP, 48, 64)
INVISIBLE = 0.25 / 255
"""The largest error allowed at the default overlap and above."""

ROUNDING = 2e-6
"""The largest error allowed below the default overlap."""

HEIGHT, WIDTH, CUT = 32, 192, 64
"""The small image in pixels, and the column at which its second computation begins."""

MAX_PARAMETERS = 20_000_000
"""Larger networks would take seconds on a CPU. A limit in seconds would make the result depend on the machine."""

_measured: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


def needed_overlap(descriptor: ImageModelDescriptor) -> int:
    """Return the overlap that tiles of this very model need, in pixels; measured once per model.

    It is the default in case of doubt, more if the default left a visible error, and less only if the receptive field
    is smaller.
    """
    known = _measured.get(descriptor.model)
    if known is None:
        known = _measured[descriptor.model] = _measure(descriptor)
    return known


def _measure(descriptor: ImageModelDescriptor) -> int:
    reason = _reason_not_to_measure(descriptor)
    if reason is None:
        try:
            errors = errors_by_distance(descriptor, noise_image(descriptor.input_channels), CUT)
        except Exception as error:  # an unknown network may fail on this image and still upscale others
            reason = f"{type(error).__name__}: {error}"
        else:
            chosen = choose_overlap(errors)
            if chosen is not None:
                log.info("Tiles of this model overlap by %d pixels, as measured.", chosen)
                return chosen
            reason = "tiles would differ at any overlap measured"
    log.info("Tiles of this model overlap by %d pixels, the default (%s).", DEFAULT_OVERLAP, reason)
    return DEFAULT_OVERLAP


def _reason_not_to_measure(descriptor: ImageModelDescriptor) -> str | None:
    if descriptor.tiling != ModelTiling.SUPPORTED:
        return "its architecture is not made for tiles"
    if all(p.dim() < 2 for p in descriptor.model.parameters()):
        return "it has no layers with a receptive field"
    if sum(p.numel() for p in descriptor.model.parameters()) > MAX_PARAMETERS:
        return "it is too large to measure"
    if descriptor.dtype != torch.float32:
        return "it is in half precision"
    multiple = max(descriptor.size_requirements.multiple_of, 1)
    if any(size % multiple for size in (HEIGHT, WIDTH, CUT)) or descriptor.size_requirements.minimum > HEIGHT:
        return "it does not take small images without padding"
    return None


def errors_by_distance(descriptor: ImageModelDescriptor, image: Tensor, cut: int) -> Tensor:
    """Return the largest error that a cut before column `cut` makes in each column after it, (W - cut,) fp32.

    Args:
        descriptor: the model.
        image: (1, C, H, W) in [0, 1].
        cut: a column of the image.
    """
    image = image.to(descriptor.device)
    whole = precisions.run(descriptor, image)
    right = precisions.run(descriptor, image[..., cut:].contiguous())
    difference = (whole[..., cut * descriptor.scale :] - right).abs().amax((0, 1, 2))
    return difference.unflatten(0, (-1, descriptor.scale)).amax(1).float().cpu()


def choose_overlap(errors: Tensor) -> int | None:
    """Return the smallest of `OVERLAPS` that the errors by distance from a cut allow, or None.

    Two tiles are blended over the middle quarter of the pixels they share, so pixels of a tile count from three
    quarters of the overlap on.
    """
    if not torch.isfinite(errors).all():
        return None
    for overlap in OVERLAPS:
        remaining = float(errors[overlap * 3 // 4 :].max())
        if remaining <= (ROUNDING if overlap < DEFAULT_OVERLAP else INVISIBLE):
            return overlap
    return None


def noise_image(channels: int) -> Tensor:
    """Return noise at several sizes, which exercises the whole network, (1, channels, HEIGHT, WIDTH) in [0, 1]."""
    seed = torch.Generator().manual_seed(0)
    image = torch.zeros(1, channels, HEIGHT, WIDTH)
    for size in (1, 2, 4, 8):
        grain = torch.rand(1, channels, HEIGHT // size, WIDTH // size, generator=seed)
        image += grain.repeat_interleave(size, 2).repeat_interleave(size, 3) / 4
    return ((image - 0.5) * 1.8 + 0.5).clamp(0, 1)
