"""Depthwise 5x5 convolutions on a CPU, of rows that lie in several pieces, by depthwise.c.

Alone it is as fast as oneDNN's. What it saves is around it: a strip need not be copied behind the rows above it, nor
its result go through memory once more to be multiplied.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .compiled import library, usable


def fits(conv: nn.Conv2d) -> bool:
    """Whether this is a depthwise 5x5 convolution that keeps the size."""
    dilation = int(conv.dilation[0])
    return (
        conv.bias is not None
        and conv.kernel_size == (5, 5)
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.stride == (1, 1)
        and conv.dilation == (dilation, dilation)
        and conv.padding == (2 * dilation, 2 * dilation)
    )


def available(conv: nn.Conv2d, *tensors: Tensor) -> bool:
    """Whether this convolution is one of those, of fp32 features in CPU memory, without gradients."""
    if not fits(conv) or conv.groups % 16:
        return False
    given = (conv.weight, conv.bias, *tensors)
    return usable([t for t in given if t is not None], (torch.float32,)) and _function() is not None


def depthwise(pieces: Sequence[Tensor], conv: nn.Conv2d, factors: Sequence[Tensor] = ()) -> Tensor:
    """The convolution of the rows of all `pieces`, (B, h, W, C) each, that bring the rows above and below with them.

    Returns (B, sum of h - 4 dilation, W, C), times the rows of `factors` where there are some.
    """
    function = _function()
    assert function is not None
    assert conv.bias is not None
    dilation = int(conv.dilation[0])
    weight, bias = conv.weight.reshape(-1, 25).t().contiguous(), conv.bias  # (25, C)
    batch, _, width, channels = pieces[0].shape
    height = sum(piece.shape[1] for piece in pieces) - 4 * dilation
    assert height > 0
    assert not factors or sum(piece.shape[1] for piece in factors) == height
    out = torch.empty(batch, height, width, channels)
    pieces, factors = [_rows_whole(p) for p in pieces], [_rows_whole(p) for p in factors]
    if function(
        batch, height, width, channels, dilation, _places(pieces), len(pieces), _places(factors), len(factors),
        weight.data_ptr(), bias.data_ptr(), out.data_ptr(), torch.get_num_threads(),
    ):  # fmt: skip
        raise MemoryError("there is not enough memory for the rows of a convolution")
    return out


def _rows_whole(piece: Tensor) -> Tensor:
    return piece if piece.stride()[2:] == (piece.shape[3], 1) else piece.contiguous()


def _places(pieces: Sequence[Tensor]) -> Any:
    numbers = [n for p in pieces for n in (p.data_ptr(), p.shape[1], p.stride(0), p.stride(1))]
    return (ctypes.c_int64 * len(numbers))(*numbers)


@functools.cache
def _function() -> Any:
    """None where there is no kernel."""
    found = library("depthwise")
    if found is None:
        return None
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    found.depthwise.argtypes = [*[number] * 5, pointer, number, pointer, number, pointer, pointer, pointer, number]
    found.depthwise.restype = ctypes.c_int
    return found.depthwise
