"""The errors of the inference core, in words for the person who waits for the image."""

from __future__ import annotations

import torch

from ..errors import SupertileError


class UpscaleError(SupertileError):
    """An image cannot be upscaled; the message is one sentence."""


class OutOfMemoryError(UpscaleError):
    """The smallest tile does not fit into memory."""


class Cancelled(Exception):
    """The caller has cancelled. Not an UpscaleError, because nothing is wrong."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether less work at once could succeed: true of the errors of CUDA's and the CPU's allocators."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    marks = ("out of memory", "can't allocate memory", "not enough memory", "cublas_status_alloc_failed")
    return isinstance(error, RuntimeError) and any(mark in text for mark in marks)
