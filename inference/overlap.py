"""How much context a network needs: measured on the network itself, for architectures of which nothing is known.

An image is computed as a whole, and once more without its left part. How far the second differs from the first, at
each distance from the cut, is what a tile gets wrong there that ends at the cut. What is taken for granted: that a
network looks as far along one axis as along the other, and that what it sees at all shows within the image.
"""

from __future__ import annotations

import logging
import weakref

import torch
from spandrel import ImageModelDescriptor, ModelTiling
from torch import Tensor, nn

from . import precision as precisions

log = logging.getLogger(__name__)

USUAL = 32
"""The overlap of a network of which nothing is measured."""

OVERLAPS = (16, 24, USUAL, 48, 64)
UNSEEN = 0.25 / 255
"""A difference that cannot be seen; below `USUAL`, only what comes from rounding counts as none."""
ROUNDING = 2e-6

HEIGHT, WIDTH, CUT = 32, 192, 64  # of the image in pixels, and where its second computing begins
MOST_PARAMETERS = 20_000_000
"""Beyond, measuring would take seconds on a CPU. A limit in seconds would let the result depend on the machine."""

_measured: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


def needed_overlap(descriptor: ImageModelDescriptor) -> int:
    """The overlap that tiles of this very model need, measured once per model; `USUAL` on any doubt.

    More than `USUAL` where that leaves a difference that could be seen, less only where the network sees no farther.
    """
    known = _measured.get(descriptor.model)
    if known is None:
        known = _measured[descriptor.model] = _measure(descriptor)
    return known


def _measure(descriptor: ImageModelDescriptor) -> int:
    reason = _doubt(descriptor)
    if reason is None:
        try:
            errors = errors_by_distance(descriptor, context_image(descriptor.input_channels), CUT)
        except Exception as error:  # whatever a foreign network does not like; the images to come are its test
            reason = f"{type(error).__name__}: {error}"
        else:
            chosen = choose_overlap(errors)
            if chosen is not None:
                log.info("Tiles of this model overlap by %d pixels, as measured.", chosen)
                return chosen
            reason = "tiles would differ at any overlap measured"
    log.info("Tiles of this model overlap by %d pixels, the usual figure (%s).", USUAL, reason)
    return USUAL


def _doubt(descriptor: ImageModelDescriptor) -> str | None:
    """Why nothing should be measured."""
    if descriptor.tiling != ModelTiling.SUPPORTED:
        return "its architecture is not made for tiles"
    if all(p.dim() < 2 for p in descriptor.model.parameters()):
        return "it has no layers that look around"
    if sum(p.numel() for p in descriptor.model.parameters()) > MOST_PARAMETERS:
        return "it is too large to be measured in passing"
    if descriptor.dtype != torch.float32:
        return "it is in half precision"
    multiple = max(descriptor.size_requirements.multiple_of, 1)
    if any(size % multiple for size in (HEIGHT, WIDTH, CUT)) or descriptor.size_requirements.minimum > HEIGHT:
        return "it does not take small images as they are"
    return None


def errors_by_distance(descriptor: ImageModelDescriptor, image: Tensor, cut: int) -> Tensor:
    """The largest difference that a cut before column `cut` makes in each column behind it, (W - cut,) fp32.

    image: (1, C, H, W) in [0, 1]. Differences are those of results in [0, 1].
    """
    image = image.to(descriptor.device)
    whole = precisions.run(descriptor, image)
    part = precisions.run(descriptor, image[..., cut:].contiguous())
    difference = (whole[..., cut * descriptor.scale :] - part).abs().amax((0, 1, 2))
    return difference.unflatten(0, (-1, descriptor.scale)).amax(1).float().cpu()


def choose_overlap(errors: Tensor) -> int | None:
    """The least of `OVERLAPS` that these errors allow, by distance from a cut; None where they allow none.

    Two tiles go over into each other in the middle quarter of what they share, so what is used of a tile begins at
    three quarters of the overlap.
    """
    if not torch.isfinite(errors).all():
        return None
    for overlap in OVERLAPS:
        left = float(errors[overlap * 3 // 4 :].max())
        if left <= (ROUNDING if overlap < USUAL else UNSEEN):
            return overlap
    return None


def context_image(channels: int) -> Tensor:
    """(1, channels, HEIGHT, WIDTH) in [0, 1]: noise at several sizes, so that everything a network has is at work."""
    seed = torch.Generator().manual_seed(0)
    image = torch.zeros(1, channels, HEIGHT, WIDTH)
    for size in (1, 2, 4, 8):
        grain = torch.rand(1, channels, HEIGHT // size, WIDTH // size, generator=seed)
        image += grain.repeat_interleave(size, 2).repeat_interleave(size, 3) / 4
    return ((image - 0.5) * 1.8 + 0.5).clamp(0, 1)
