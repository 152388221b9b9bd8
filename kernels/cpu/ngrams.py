"""What HiT-SNG's windows say of themselves and hear from each other, on a CPU, by ngrams.c."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import torch
from torch import Tensor

from ..tensors import FLOATS, dense_rows, tensors_ok
from .build import library


def can_run(x: Tensor, *given: Tensor) -> bool:
    """Whether the windows `x`, fp32 with channels last, can be taken, with weights in fp32 or bf16."""
    if torch.is_grad_enabled() or not tensors_ok((x,), (torch.float32,)):
        return False
    if not tensors_ok(given, FLOATS):
        return False
    functions = _functions()
    return functions is not None and x.shape[-1] <= functions.channels


def unigrams(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, nh h, nw w, C) -> (B, nh, nw, C / 2).

    weight: (1, 2, h, w), the first of both for channel 2c and the second for 2c + 1; bias: (1).
    """
    functions = _functions()
    assert functions is not None
    x = dense_rows(x)
    height, width = weight.shape[2:]
    out = x.new_empty(x.shape[0], x.shape[1] // height, x.shape[2] // width, x.shape[3] // 2)
    weight = weight.float().flatten(1).reshape(2, -1).t().contiguous()
    shape = _shape(*out.shape[:3], height, width, x.shape[3], *x.stride()[:2])
    functions.unigrams(shape, x.data_ptr(), weight.data_ptr(), float(bias), out.data_ptr())
    return out


def bigrams(qkv: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Attention among the four windows of each bigram, averaged over them.

    qkv: (B, rows + 2, columns + 2, 3 D) fp32, of unigrams with their neighbors around the border. bias: (heads, 4, 4).
    Returns (B, rows, columns, 2, D): with the windows to the lower right, and with those to the upper left.
    """
    functions = _functions()
    assert functions is not None
    batch, rows, columns, dim = qkv.shape[0], qkv.shape[1] - 2, qkv.shape[2] - 2, qkv.shape[3] // 3
    planes = qkv.permute(0, 3, 1, 2).contiguous()
    planes[:, :dim] *= math.log2(math.e) * (dim // heads) ** -0.5
    bias = (bias.float() * math.log2(math.e)).contiguous()
    out = qkv.new_empty(batch, rows, columns, 2, dim)
    shape = _shape(batch, rows, columns, 1, 1, 2 * dim, 0, 0)
    functions.bigrams(shape, heads, dim // heads, planes.data_ptr(), bias.data_ptr(), out.data_ptr())
    return out


def _shape(*numbers: int) -> Any:
    """ngrams.c's shape."""
    return (ctypes.c_int64 * (len(numbers) + 1))(*numbers, torch.get_num_threads())


class _Functions:
    """What ngrams.c exports. channels: the most that a pixel may have."""

    def __init__(self, found: ctypes.CDLL) -> None:
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        self.unigrams, self.bigrams = found.unigrams, found.bigrams
        self.unigrams.argtypes = [pointer, pointer, pointer, ctypes.c_float, pointer]
        self.bigrams.argtypes = [pointer, number, number, pointer, pointer, pointer]
        self.unigrams.restype = self.bigrams.restype = None
        found.ngrams_channels.restype = number
        self.channels = found.ngrams_channels()


@functools.cache
def _functions() -> Any:
    """None where there is no kernel."""
    found = library("ngrams")
    return None if found is None else _Functions(found)
