"""Supertile: upscale pictures and videos with HAT, VapSR and HiT-SR.

    from supertile import Upscaler, load_model

    upscaler = Upscaler(load_model("model.safetensors"))
    larger = upscaler(pictures)  # (N, C, H, W) in [0, 1] -> (N, C, sH, sW)

The names below are imported when they are first used, so that `import supertile` costs nothing. What does happen on
import: VapSR and HiT-SR join spandrel's registry, at once or as soon as spandrel is imported, so that every program
that loads models through spandrel opens them. ComfyUI, which loads this folder as a node pack, finds its entry point
here; nobody else does.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from .weights.registration import register_with_spandrel

if TYPE_CHECKING:
    from .images.upscale import upscale_image_file, upscale_picture
    from .inference.errors import Cancelled, UpscaleError
    from .inference.upscaler import Upscaler
    from .video.errors import VideoError
    from .video.report import VideoReport
    from .video.upscale import upscale_video
    from .weights.bundle import bundled_models
    from .weights.errors import CheckpointError
    from .weights.loader import CheckpointInfo, convert_checkpoint, inspect_checkpoint, load_model

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"  # what ComfyUI serves to its page: the help of the nodes

_HOMES = {
    "Cancelled": "inference.errors",
    "CheckpointError": "weights.errors",
    "CheckpointInfo": "weights.loader",
    "UpscaleError": "inference.errors",
    "Upscaler": "inference.upscaler",
    "VideoError": "video.errors",
    "VideoReport": "video.report",
    "bundled_models": "weights.bundle",
    "convert_checkpoint": "weights.loader",
    "inspect_checkpoint": "weights.loader",
    "load_model": "weights.loader",
    "upscale_image_file": "images.upscale",
    "upscale_picture": "images.upscale",
    "upscale_video": "video.upscale",
}

__all__ = [
    "Cancelled",
    "CheckpointError",
    "CheckpointInfo",
    "UpscaleError",
    "Upscaler",
    "VideoError",
    "VideoReport",
    "bundled_models",
    "convert_checkpoint",
    "inspect_checkpoint",
    "load_model",
    "upscale_image_file",
    "upscale_picture",
    "upscale_video",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if name == "comfy_entrypoint" and "comfy_api" in sys.modules and "folder_paths" in sys.modules:
        home = "nodes.extension"
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


register_with_spandrel()
