"""The Upscaler that a node works with, in ComfyUI's memory and for as long as the node runs."""

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
    """ComfyUI has made room for images of up to width x height; a batch is the longest an interruption waits.

    options: of the Upscaler; `precision` "auto" is what the model was loaded in. Raises UpscaleError.
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
        # ComfyUI may move weights whenever it likes, and has nodes of its own for compiling.
        upscaler = Upscaler(bare, device=device, compile="off", **options)
        yield upscaler
    finally:
        upscaler = bare = None
        host.give_back_memory()
