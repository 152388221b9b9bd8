"""Window attention on CUDA in one pass: softmax(scale q kᵀ + bias) v, window by window and head by head.

PyTorch's fused kernels take no windows of a map and, given a bias, pad what is no multiple of 8 channels a head. This
one reads windows where they lie, so nothing is cut out, padded or put together around it. A program keeps 64 queries
of one head and goes over the keys of their window with a running maximum and sum (Milakov and Gimelshein, "Online
normalizer calculation for softmax", arXiv:1805.02867), so the map of scores is never written. The bias of all heads,
0.8 MB for a window of 16 in half precision, is read from the second-level cache by every window.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST_HEAD = 64  # that fits in registers and shared memory

QUERIES = 64  # of a tile
KEYS = {2: 64, 4: 32}  # of a tile, by the bytes of a number: 64 in fp32 would not fit in registers
WARPS, STAGES = 4, 2
_LOG2_E = tl.constexpr(math.log2(math.e))
_NEVER = tl.constexpr(-1e30)  # a score that weighs nothing; finite, so that a tile of nothing else gives no NaN


_SIZES = ["rows", "columns", "q_top", "q_left", "k_top", "k_left", "height", "width", "k_height", "k_width"]


@triton.jit(do_not_specialize=_SIZES)  # or another size would be compiled for anew
def attend(
    q, k, v, bias, out, scale,
    rows, columns, q_top, q_left, k_top, k_left, height, width, k_height, k_width,
    q_batch, q_row, q_column, k_batch, k_row, k_column, out_batch, out_row, out_column,
    HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    WINDOW_H: tl.constexpr, WINDOW_W: tl.constexpr, AROUND_H: tl.constexpr, AROUND_W: tl.constexpr,
    ZERO_PADDING: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head of one window; see `window_attention`."""
    QUERIES_OF: tl.constexpr = WINDOW_H * WINDOW_W
    KEYS_OF: tl.constexpr = AROUND_H * AROUND_W
    TILES: tl.constexpr = (QUERIES_OF + M - 1) // M
    tile = tl.program_id(0) % TILES
    head = tl.program_id(0) // TILES % HEADS
    window = tl.program_id(0) // (TILES * HEADS)
    column = window % columns
    row = window // columns % rows
    batch = (window // (columns * rows)).to(tl.int64)

    channel = tl.arange(0, PADDED)
    query = tile * M + tl.arange(0, M)
    y, x = q_top + row * WINDOW_H + query // WINDOW_W, q_left + column * WINDOW_W + query % WINDOW_W
    asks = (query < QUERIES_OF) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    there = asks[:, None] & (channel < DIM)[None, :]
    y, x = y.to(tl.int64), x.to(tl.int64)
    at = batch * q_batch + (y * q_row + x * q_column)[:, None] + (head * DIM + channel)[None, :]
    queries = tl.load(q + at, mask=there, other=0.0)

    top, left = k_top + row * WINDOW_H, k_left + column * WINDOW_W
    kv_at = batch * k_batch + top.to(tl.int64) * k_row + left.to(tl.int64) * k_column + head * DIM
    k += kv_at
    v += kv_at
    bias += head * (QUERIES_OF * KEYS_OF) + query * KEYS_OF
    largest = tl.full([M], _NEVER, tl.float32)
    total = tl.zeros([M], tl.float32)
    result = tl.zeros([M, PADDED], tl.float32)
    for first in range(0, KEYS_OF, N):
        key = first + tl.arange(0, N)
        down, across = key // AROUND_W, key % AROUND_W
        inside = (top + down >= 0) & (top + down < k_height) & (left + across >= 0) & (left + across < k_width)
        inside &= key < KEYS_OF
        near = (down * k_row + across * k_column)[:, None] + channel[None, :]
        known = inside[:, None] & (channel < DIM)[None, :]
        keys = tl.load(k + near, mask=known, other=0.0)
        scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        shown = (query < QUERIES_OF)[:, None] & (key < KEYS_OF)[None, :]
        scores += tl.load(bias[:, None] + key[None, :], mask=shown, other=0.0).to(tl.float32)
        answers = key < KEYS_OF if ZERO_PADDING else inside
        scores = tl.where(answers[None, :], scores, _NEVER)
        larger = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.math.exp2((scores - larger[:, None]) * _LOG2_E)
        fading = tl.math.exp2((largest - larger) * _LOG2_E)
        values = tl.load(v + near, mask=known, other=0.0)
        total = total * fading + tl.sum(weights, 1)
        result = result * fading[:, None]
        result = tl.dot(weights.to(values.dtype), values, acc=result, input_precision=PRECISION)
        largest = larger

    at = batch * out_batch + (y * out_row + x * out_column)[:, None] + (head * DIM + channel)[None, :]
    tl.store(out + at, (result / total[:, None]).to(out.dtype.element_ty), mask=there)


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
    precision: str,
    origin: tuple[int, int] = (0, 0),
    key_origin: tuple[int, int] = (0, 0),
    zero_padding: bool = False,
) -> Tensor:
    """softmax(scale q kᵀ + bias) v for every window; (B, H, W, heads D).

    q: (B, H, W, heads D), k, v: (B, H', W', heads D), of one dtype, maps or views of maps with channels last. The first
    window begins at row and column `origin` of q, 0 or less, and asks `key_window` pixels that begin at `key_origin` of
    k and v; the others follow in steps of `window`, as far as q reaches. Of windows that lie partly beyond a map, what
    lies there neither asks nor answers, or, with `zero_padding`, answers as a key and a value of zeros. bias:
    (1, heads, L, L') of whole windows, contiguous. precision: how fp32 is multiplied, as `tl.dot` calls it.
    """
    batch, height, width, channels = q.shape
    dim = channels // heads
    if dim > LARGEST_HEAD:
        raise ValueError(f"a head of {dim} channels does not fit in registers")
    assert k.stride() == v.stride()
    assert bias.is_contiguous()
    assert bias.shape[1:] == (heads, window[0] * window[1], key_window[0] * key_window[1])
    assert all(t.stride(3) == 1 and t.dtype == q.dtype for t in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    rows, columns = (
        triton.cdiv(size - begin, step) for size, begin, step in zip((height, width), origin, window, strict=True)
    )
    tiles = triton.cdiv(window[0] * window[1], QUERIES)
    attend[(tiles * heads * batch * rows * columns,)](
        q, k, v, bias, out, scale,
        rows, columns, *origin, *key_origin, height, width, *k.shape[1:3],
        *q.stride()[:3], *k.stride()[:3], *out.stride()[:3],
        HEADS=heads, DIM=dim, PADDED=max(triton.next_power_of_2(dim), 16),
        WINDOW_H=window[0], WINDOW_W=window[1], AROUND_H=key_window[0], AROUND_W=key_window[1],
        ZERO_PADDING=zero_padding, PRECISION=precision, M=QUERIES, N=KEYS[q.element_size()],
        num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    return out
