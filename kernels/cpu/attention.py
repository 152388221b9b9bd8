"""Window attention on a CPU in one pass, by attention.c.

PyTorch's fused attention reaches 90 to 100 GFLOP/s at 24 or 30 channels a head, in fp32 as in bf16, where two Zen 5
cores reach 510 in a convolution. This one reaches 200 to 300, needs no copies of windows, and computes in fp32 whatever
the dtype of the features.
"""

from __future__ import annotations

import math
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tensors import tensors_ok
from . import build

_LOG2_E = math.log2(math.e)
_DTYPES = (torch.float32, torch.bfloat16)


class Strides(build.Struct):
    """`strides` of attention.c."""

    _fields_ = build.fields(c_int64, "batch", "row", "column")


class Shape(build.Struct):
    """`shape` of attention.c."""

    _fields_ = (
        *build.fields(c_int64, "batches", "window_rows", "window_columns", "heads", "dim"),
        *build.fields(c_int64, "query_height", "query_width", "key_height", "key_width", "step_height", "step_width"),
        *build.fields(Strides, "q", "kv", "out"),
        *build.fields(c_int64, "bias_rows", "bias_columns", "bf16", "threads"),
    )


SIGNATURES: build.Signatures = {
    "attention": (c_int, [POINTER(Shape), *[c_void_p] * 5, c_float]),
    "bias_row_multiple": (c_int64, []),
    "bias_column_multiple": (c_int64, []),
}


def can_run(*tensors: Tensor) -> bool:
    """Return whether the kernel computes attention over these: fp32 or bf16 in CPU memory, no gradients."""
    return tensors_ok(tensors, _DTYPES) and build.load("attention", SIGNATURES) is not None


def pack_bias(bias: Tensor) -> Tensor:
    """Return the bias of whole or cut windows, (1, heads, L, L'), as `window_attention` takes it."""
    library = build.load("attention", SIGNATURES)
    assert library is not None
    rows = -bias.shape[2] % library.bias_row_multiple()
    columns = -bias.shape[3] % library.bias_column_multiple()
    scaled = bias[0].float() * _LOG2_E
    return F.pad(F.pad(scaled, (0, columns), value=-math.inf), (0, 0, 0, rows)).contiguous()


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    heads: int,
    window: tuple[int, int],
    key_window: tuple[int, int],
    bias: Tensor,
    scale: float,
    out: Tensor,
) -> None:
    """Write softmax(scale q kᵀ + bias) v of every window to `out`.

    Args:
        q: (B, H, W, heads D), fp32 or bf16, a map of whole windows or a view of one with channels last.
        k: (B, H', W', heads D) with H' = H + key_window[0] - window[0], likewise W'. Keys of window (i, j) begin at
            pixel (i window[0], j window[1]).
        v: Of the shape, dtype and strides of `k`.
        heads: Number of heads.
        window: Rows and columns of a window's queries.
        key_window: Rows and columns of its keys.
        bias: As `pack_bias` returns it.
        scale: Factor of the products.
        out: Of the shape and dtype of `q`.

    Raises:
        MemoryError: There is not enough memory for the keys and values of a window.
    """
    library = build.load("attention", SIGNATURES)
    assert library is not None
    batch, height, width, channels = q.shape
    rows, columns = height // window[0], width // window[1]
    assert (height, width) == (rows * window[0], columns * window[1])
    assert out.shape == q.shape
    assert k.shape == v.shape
    assert k.shape[1:3] == (height + key_window[0] - window[0], width + key_window[1] - window[1])
    assert k.stride() == v.stride()
    assert all(t.stride(3) == 1 and t.dtype == q.dtype for t in (q, k, v, out))
    assert bias.is_contiguous()
    assert bias.dtype == torch.float32
    if not q.numel():
        return
    shape = Shape(
        batches=batch, window_rows=rows, window_columns=columns, heads=heads, dim=channels // heads,
        query_height=window[0], query_width=window[1], key_height=key_window[0], key_width=key_window[1],
        step_height=window[0], step_width=window[1],
        q=_strides(q), kv=_strides(k), out=_strides(out),
        bias_rows=bias.shape[1], bias_columns=bias.shape[2],
        bf16=q.dtype == torch.bfloat16, threads=torch.get_num_threads(),
    )  # fmt: skip
    if library.attention(shape, *(t.data_ptr() for t in (q, k, v, out, bias)), scale * _LOG2_E):
        raise MemoryError("there is not enough memory for the attention of a window")


def _strides(x: Tensor) -> Strides:
    batch, row, column, _ = x.stride()
    return Strides(batch=batch, row=row, column=column)
