"""The Upscaler of a node, within ComfyUI's memory management."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spandrel import ImageModelDescriptor

from ..inference import precision as precisions
from ..inference.upscaler import Upscaler
from . import host
from .loaders import precision_of


@contextmanager
def upscaler_for(model: ImageModelDescriptor, width: int, height: int, options: dict[str, Any]) -> Iterator[Upscaler]:
    """Open an Upscaler for images of up to width x height, with memory that ComfyUI has freed for it.

    An interruption takes effect after one batch of tiles.

    Args:
        model: as a loader returned it.
        width, height: pixels of the largest image for the model.
        options: arguments of the Upscaler. `precision` "auto" becomes the precision the model was loaded in.

    Raises:
        UpscaleError: not an upscale model.
    """
    upscaler = bare = None
    try:
        bare, device = host.to_device(
            model, host.activation_bytes(model, width, height, options["tile"], options["batch"])
        )
        loaded = precision_of(bare)
        if options["precision"] == "auto":
            options = {**options, "precision": loaded}
        elif options["precision"] == "fp32" and loaded != "auto":
            bare = precisions.cast(bare, precisions.PRECISIONS["fp32"], device)
        # Not compiled: ComfyUI may move weights at any time, and has its own nodes for compiling.
        upscaler = Upscaler(bare, device=device, compile="off", **options)
        yield upscaler
    finally:
        upscaler = bare = None
        host.give_back_memory()
