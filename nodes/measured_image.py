"""The small image that a model is measured on, and the figures drawn of it, as IMAGEs of ComfyUI."""

from __future__ import annotations

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..images.channels import to_batch
from ..inference.errors import UpscaleError
from . import host
from .finite import check_finite

MAX_SIDE = 1024
"""Pixels. The whole image has to fit into memory, and a larger one is most likely connected by mistake."""


def network_input(model: ImageModelDescriptor, image: Tensor) -> Tensor:
    """Return the first image of an IMAGE, without its transparency, in the channels of the model: (C, H, W).

    Raises:
        UpscaleError: not an upscale model, or an image that is too large, has other than 1, 3 or 4 channels, or holds
            NaN or infinity.
    """
    host.check_model(model)
    count, height, width, channels = image.shape
    if channels not in (1, 3, 4) or not count or not 0 < min(height, width) <= max(height, width) <= MAX_SIDE:
        raise UpscaleError(
            f"This node takes images of up to {MAX_SIDE}x{MAX_SIDE} pixels with 1, 3 or 4 channels; this one has "
            f"{width}x{height} pixels and {channels} channels."
        )
    check_finite(image[0], "The image")
    planes = image[0, ..., : 3 if channels == 4 else channels].movedim(-1, 0).to("cpu", torch.float32).clamp(0, 1)
    return to_batch(planes.contiguous(), None, model.input_channels)[0]


def as_image(planes: Tensor) -> Tensor:
    """Return planes (3, H, W) as an IMAGE (1, H, W, 3)."""
    return planes.movedim(0, -1)[None].contiguous()
