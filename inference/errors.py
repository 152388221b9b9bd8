"""What can stop the inference core, in words for the person who waits for the image."""

from __future__ import annotations

import torch

from ..errors import SupertileError


class UpscaleError(SupertileError):
    """An image that cannot be upscaled as asked; `str()` is one sentence."""


class OutOfMemoryError(UpscaleError):
    """The smallest tile does not fit into memory."""


class Cancelled(Exception):
    """`cancelled()` said yes. Not an UpscaleError: nothing is wrong."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether smaller work could succeed where this failed: CUDA's and the CPU allocator's errors."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    marks = ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc_failed")
    return isinstance(error, RuntimeError) and any(mark in text for mark in marks)
