"""Window attention on a CPU in one pass, by attention.c.

PyTorch's fused attention reaches 90 to 100 GFLOP/s at 24 or 30 channels a head, in fp32 as in bf16, where two Zen 5
cores reach 510 in a convolution. This one reaches 200 to 300, needs no copies of windows, and computes in fp32 whatever
the features are.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tensors import tensors_ok
from .build import library

_LOG2_E = math.log2(math.e)
_HALF = {torch.float32: 0, torch.bfloat16: 1}


def can_run(*tensors: Tensor) -> bool:
    """Whether attention over these can be computed here: plain tensors in CPU memory, without gradients."""
    return tensors_ok(tensors, _HALF) and _functions() is not None


def pack_bias(bias: Tensor) -> Tensor:
    """A bias (1, heads, L, L') as the kernel reads it; also for a part of one."""
    functions = _functions()
    assert functions is not None
    _, _, queries, keys = bias.shape
    rows, columns = (-size % to for size, to in zip((queries, keys), functions.padding, strict=True))
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
    """softmax(scale q kᵀ + bias) v for every window, into `out`.

    q, out: (B, H, W, heads D) of whole windows, maps or views of maps with channels last. k, v: the same with
    `key_window` - `window` more rows and columns; window number i begins at pixel i `window` in each of them. bias: as
    `pack_bias` gives it. All but the bias are of one dtype, fp32 or bf16.
    """
    functions = _functions()
    assert functions is not None
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
    shape = (
        batch, rows, columns, heads, channels // heads, *window, *key_window, *window,
        *q.stride()[:3], *k.stride()[:3], *out.stride()[:3], *bias.shape[1:], _HALF[q.dtype], torch.get_num_threads(),
    )  # fmt: skip
    if functions.attention(
        (ctypes.c_int64 * len(shape))(*shape), *(t.data_ptr() for t in (q, k, v, out, bias)), scale * _LOG2_E
    ):
        raise MemoryError("there is not enough memory for a window's attention")


class _Functions:
    """What attention.c exports. padding: what its bias's rows and columns are multiples of."""

    def __init__(self, found: ctypes.CDLL) -> None:
        self.attention = found.attention
        self.attention.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_float]
        self.attention.restype = ctypes.c_int
        found.attention_rows.restype = found.attention_lanes.restype = ctypes.c_int64
        self.padding = (found.attention_rows(), found.attention_lanes())


@functools.cache
def _functions() -> Any:
    """None where there is no kernel."""
    found = library("attention")
    return None if found is None else _Functions(found)
