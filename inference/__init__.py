"""Upscale images with a network on any device: the inference core."""

from .errors import Cancelled, OutOfMemoryError, UpscaleError
from .upscaler import Upscaler

__all__ = ["Cancelled", "OutOfMemoryError", "UpscaleError", "Upscaler"]
