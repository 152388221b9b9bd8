"""Images -> larger images: the one inference core."""

from .errors import Cancelled, OutOfMemoryError, UpscaleError
from .upscaler import Upscaler

__all__ = ["Cancelled", "OutOfMemoryError", "UpscaleError", "Upscaler"]
