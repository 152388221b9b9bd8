"""The n-gram context of HiT-SNG on a CPU, by ngrams.c: unigrams of windows, and attention in their bigrams."""

from __future__ import annotations

import math
from ctypes import POINTER, c_float, c_int64, c_void_p

import torch
from torch import Tensor

from ..tensors import FLOATS, dense_rows, tensors_ok
from . import build


class Shape(build.Struct):
    """`shape` of ngrams.c."""

    _fields_ = build.fields(
        c_int64,
        *("batches", "rows", "columns", "window_height", "window_width", "features"),
        *("batch_stride", "row_stride", "threads"),
    )


SIGNATURES: build.Signatures = {
    "unigrams": (None, [POINTER(Shape), c_void_p, c_void_p, c_float, c_void_p]),
    "bigrams": (None, [POINTER(Shape), c_int64, c_int64, c_void_p, c_void_p, c_void_p]),
    "max_channels": (c_int64, []),
}


def can_run(x: Tensor, *weights: Tensor) -> bool:
    """Return whether the kernels take the windows `x`, in fp32, with weights in fp32 or bf16; no gradients."""
    if torch.is_grad_enabled() or not tensors_ok((x,), (torch.float32,)) or not tensors_ok(weights, FLOATS):
        return False
    library = build.load("ngrams", SIGNATURES)
    return library is not None and x.shape[-1] <= library.max_channels()


def unigrams(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the weighted sum of each window's pixels, in which pairs of channels become one.

    Args:
        x: (B, nh h, nw w, C), fp32.
        weight: (1, 2, h, w), the first of both for channels 2c and the second for channels 2c + 1.
        bias: (1).

    Returns:
        (B, nh, nw, C / 2), fp32.
    """
    library = build.load("ngrams", SIGNATURES)
    assert library is not None
    x = dense_rows(x)
    height, width = weight.shape[2:]
    out = x.new_empty(x.shape[0], x.shape[1] // height, x.shape[2] // width, x.shape[3] // 2)
    weight = weight.float().flatten(1).reshape(2, -1).t().contiguous()
    shape = Shape(
        batches=out.shape[0], rows=out.shape[1], columns=out.shape[2], window_height=height, window_width=width,
        features=x.shape[3], batch_stride=x.stride(0), row_stride=x.stride(1), threads=torch.get_num_threads(),
    )  # fmt: skip
    library.unigrams(shape, x.data_ptr(), weight.data_ptr(), float(bias), out.data_ptr())
    return out


def bigrams(qkv: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Return the mean of the attention among the four windows of each bigram.

    Args:
        qkv: (B, rows + 2, columns + 2, 3 D), fp32, of unigrams with their neighbors around the border.
        bias: (heads, 4, 4).
        heads: Number of heads, which share D channels.

    Returns:
        (B, rows, columns, 2, D), fp32: with the windows to the lower right, and with those to the upper left.
    """
    library = build.load("ngrams", SIGNATURES)
    assert library is not None
    batch, rows, columns, dim = qkv.shape[0], qkv.shape[1] - 2, qkv.shape[2] - 2, qkv.shape[3] // 3
    planes = qkv.permute(0, 3, 1, 2).contiguous()
    planes[:, :dim] *= math.log2(math.e) * (dim // heads) ** -0.5
    bias = (bias.float() * math.log2(math.e)).contiguous()
    out = qkv.new_empty(batch, rows, columns, 2, dim)
    shape = Shape(
        batches=batch, rows=rows, columns=columns, window_height=1, window_width=1, features=2 * dim,
        batch_stride=0, row_stride=0, threads=torch.get_num_threads(),
    )  # fmt: skip
    library.bigrams(shape, heads, dim // heads, planes.data_ptr(), bias.data_ptr(), out.data_ptr())
    return out
