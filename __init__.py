"""Supertile: upscale images and videos with HAT, VapSR and HiT-SR.

    from supertile import Upscaler

    upscaler = Upscaler("supertile-4x")  # or the path of a model file
    larger = upscaler(image)  # a PIL image, an array, a tensor, or a list of them

The names below are imported when they are first used, so that `import supertile` costs nothing. What does happen on
import: VapSR and HiT-SR join spandrel's registry, at once or as soon as spandrel is imported, so that every program
that loads models through spandrel opens them. ComfyUI, which loads this folder as a node pack, finds its entry point
here; nobody else does.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from .weights.registration import register_with_spandrel

if TYPE_CHECKING:
    from .analysis.fidelity import ComparisonError as ComparisonError
    from .errors import SupertileError as SupertileError
    from .images.io.errors import ImageFileError as ImageFileError
    from .images.jobs import PlanError as PlanError
    from .images.size import Size as Size
    from .images.size import SizeError as SizeError
    from .images.upscale import upscale_image as upscale_image
    from .images.upscale import upscale_image_file as upscale_image_file
    from .images.upscaler import Upscaler as Upscaler
    from .inference.errors import Cancelled as Cancelled
    from .inference.errors import OutOfMemoryError as OutOfMemoryError
    from .inference.errors import UpscaleError as UpscaleError
    from .previews.preview import preview as preview
    from .video.errors import VideoError as VideoError
    from .video.frame_stream import TimedImage as TimedImage
    from .video.frame_stream import upscale_frames as upscale_frames
    from .video.frames import Span as Span
    from .video.read.open import SourceOptions as SourceOptions
    from .video.report import VideoReport as VideoReport
    from .video.upscale import upscale_video as upscale_video
    from .video.write.arrays import ArrayWriter as ArrayWriter
    from .video.write.encoder_options import EncoderOptions as EncoderOptions
    from .weights.bundle import bundled_models as bundled_models
    from .weights.combined import blend_models as blend_models
    from .weights.combined import chain_models as chain_models
    from .weights.errors import CheckpointError as CheckpointError
    from .weights.errors import CombinationError as CombinationError
    from .weights.errors import NotAModelError as NotAModelError
    from .weights.errors import UnknownArchitectureError as UnknownArchitectureError
    from .weights.errors import UnreadableCheckpointError as UnreadableCheckpointError
    from .weights.errors import UnsafeCheckpointError as UnsafeCheckpointError
    from .weights.errors import WrongTensorsError as WrongTensorsError
    from .weights.loader import CheckpointInfo as CheckpointInfo
    from .weights.loader import convert_checkpoint as convert_checkpoint
    from .weights.loader import inspect_checkpoint as inspect_checkpoint
    from .weights.loader import load_model as load_model

__version__: str  # as pyproject.toml says

WEB_DIRECTORY = "./web"  # what ComfyUI serves to its page: the help of the nodes

_HOMES = {
    "ArrayWriter": "video.write.arrays",
    "Cancelled": "inference.errors",
    "CheckpointError": "weights.errors",
    "CheckpointInfo": "weights.loader",
    "CombinationError": "weights.errors",
    "ComparisonError": "analysis.fidelity",
    "EncoderOptions": "video.write.encoder_options",
    "ImageFileError": "images.io.errors",
    "NotAModelError": "weights.errors",
    "OutOfMemoryError": "inference.errors",
    "PlanError": "images.jobs",
    "Size": "images.size",
    "SizeError": "images.size",
    "SourceOptions": "video.read.open",
    "Span": "video.frames",
    "SupertileError": "errors",
    "TimedImage": "video.frame_stream",
    "UnknownArchitectureError": "weights.errors",
    "UnreadableCheckpointError": "weights.errors",
    "UnsafeCheckpointError": "weights.errors",
    "UpscaleError": "inference.errors",
    "Upscaler": "images.upscaler",
    "VideoError": "video.errors",
    "VideoReport": "video.report",
    "WrongTensorsError": "weights.errors",
    "blend_models": "weights.combined",
    "bundled_models": "weights.bundle",
    "chain_models": "weights.combined",
    "convert_checkpoint": "weights.loader",
    "inspect_checkpoint": "weights.loader",
    "load_model": "weights.loader",
    "preview": "previews.preview",
    "upscale_frames": "video.frame_stream",
    "upscale_image": "images.upscale",
    "upscale_image_file": "images.upscale",
    "upscale_video": "video.upscale",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if name == "comfy_entrypoint" and "comfy_api" in sys.modules and "folder_paths" in sys.modules:
        home = "nodes.extension"
    if name == "__version__":
        from .version import version

        return version()
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


logging.getLogger(__name__).addHandler(logging.NullHandler())  # programs decide what becomes of a library's log
register_with_spandrel()
