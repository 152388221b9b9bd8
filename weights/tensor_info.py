"""Shapes and dtypes of tensors that have not been read, and which of them can belong to a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""The floating-point types that weights are stored in and networks run in, by their short names."""

# What a super-resolution network consists of. Other dtypes (complex, float8, quantized) are recognized and refused.
USABLE_DTYPES = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)

_MAX_DIMS = 16  # windowed attention needs 6
_MAX_DIM = 2**40  # a tera-element axis fits in no checkpoint; and below 2**63 nothing in torch overflows


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor when contiguous."""
        return self.numel * self.dtype.itemsize


def shape_problem(shape: Sequence[object]) -> str | None:
    """Return what is impossible about a shape that a file declares, or None."""
    if any(type(side) is not int for side in shape):
        return "has a shape that does not consist of integers"
    sides = [side for side in shape if isinstance(side, int)]
    if any(side < 0 for side in sides):
        return f"has the negative shape {sides[:_MAX_DIMS]}"
    if len(sides) > _MAX_DIMS or any(side > _MAX_DIM for side in sides):
        return "has a shape beyond any tensor's"
    return None


def human_size(nbytes: int) -> str:
    """Return a number of bytes in words: '512 bytes', '1.3 MB'."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)):
        if nbytes < 1000 * size:
            return f"{nbytes / size:.1f} {unit}"
    return "more than 1000 TB"
