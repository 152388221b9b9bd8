"""Window attention on CUDA in one pass: softmax(scale q kᵀ + bias) v, window by window and head by head.

PyTorch's fused kernels do not read windows in place and, given a bias, pad heads whose channels are no multiple of 8.
This one reads windows from the map of features, so nothing is cut out, padded or put together around it. A program
keeps 64 queries of one head and goes over the keys of their window with a running maximum and sum (Milakov and
Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867), so the map of scores is never written. The
bias of all heads, 0.8 MB for a window of 16 in half precision, stays in the second-level cache for all windows.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_HEAD_DIM = 64
"""A larger head does not fit in registers and shared memory."""

QUERIES_PER_PROGRAM = 64
KEYS_PER_STEP = {2: 64, 4: 32}
"""By the bytes of a number: 64 keys in fp32 would not fit in registers."""
WARPS, STAGES = 4, 2
_LOG2_E = tl.constexpr(math.log2(math.e))
_MASKED = tl.constexpr(-1e30)  # finite: a step of masked keys alone must not produce NaN

# Their values change with the image; specialized, the kernel would be compiled again for each of them.
_SIZES = ["rows", "columns", "q_top", "q_left", "k_top", "k_left", "height", "width", "k_height", "k_width"]


@triton.jit(do_not_specialize=_SIZES)
def attend(
    q, k, v, bias, out, scale,
    rows, columns, q_top, q_left, k_top, k_left, height, width, k_height, k_width,
    q_batch, q_row, q_column, k_batch, k_row, k_column, out_batch, out_row, out_column,
    HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    WINDOW_H: tl.constexpr, WINDOW_W: tl.constexpr, KEY_WINDOW_H: tl.constexpr, KEY_WINDOW_W: tl.constexpr,
    ZERO_PADDING: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Attend with M queries of one head of one window, N keys at a time; see `window_attention`."""
    QUERIES_OF: tl.constexpr = WINDOW_H * WINDOW_W
    KEYS_OF: tl.constexpr = KEY_WINDOW_H * KEY_WINDOW_W
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
    query_inside = (query < QUERIES_OF) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    q_mask = query_inside[:, None] & (channel < DIM)[None, :]
    y, x = y.to(tl.int64), x.to(tl.int64)
    at = batch * q_batch + (y * q_row + x * q_column)[:, None] + (head * DIM + channel)[None, :]
    queries = tl.load(q + at, mask=q_mask, other=0.0)

    top, left = k_top + row * WINDOW_H, k_left + column * WINDOW_W
    kv_at = batch * k_batch + top.to(tl.int64) * k_row + left.to(tl.int64) * k_column + head * DIM
    k += kv_at
    v += kv_at
    bias += head * (QUERIES_OF * KEYS_OF) + query * KEYS_OF
    largest = tl.full([M], _MASKED, tl.float32)
    total = tl.zeros([M], tl.float32)
    result = tl.zeros([M, PADDED], tl.float32)
    for first in range(0, KEYS_OF, N):
        key = first + tl.arange(0, N)
        down, across = key // KEY_WINDOW_W, key % KEY_WINDOW_W
        inside = (top + down >= 0) & (top + down < k_height) & (left + across >= 0) & (left + across < k_width)
        inside &= key < KEYS_OF
        kv_offset = (down * k_row + across * k_column)[:, None] + channel[None, :]
        kv_mask = inside[:, None] & (channel < DIM)[None, :]
        keys = tl.load(k + kv_offset, mask=kv_mask, other=0.0)
        scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        bias_mask = (query < QUERIES_OF)[:, None] & (key < KEYS_OF)[None, :]
        scores += tl.load(bias[:, None] + key[None, :], mask=bias_mask, other=0.0).to(tl.float32)
        counts = key < KEYS_OF if ZERO_PADDING else inside
        scores = tl.where(counts[None, :], scores, _MASKED)
        larger = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.math.exp2((scores - larger[:, None]) * _LOG2_E)
        decay = tl.math.exp2((largest - larger) * _LOG2_E)
        values = tl.load(v + kv_offset, mask=kv_mask, other=0.0)
        total = total * decay + tl.sum(weights, 1)
        result = result * decay[:, None]
        result = tl.dot(weights.to(values.dtype), values, acc=result, input_precision=PRECISION)
        largest = larger

    at = batch * out_batch + (y * out_row + x * out_column)[:, None] + (head * DIM + channel)[None, :]
    tl.store(out + at, (result / total[:, None]).to(out.dtype.element_ty), mask=q_mask)


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
    """Return softmax(scale q kᵀ + bias) v of every window.

    Windows may lie partly beyond the map, as those of a shifted grid do at its borders. Queries there are not computed.
    Keys there do not count, or with `zero_padding` count as zeros with values of zero.

    Args:
        q: (B, H, W, heads D), a map or a view of one with channels last.
        k: (B, H', W', heads D), of the dtype of `q`.
        v: Of the shape, dtype and strides of `k`.
        heads: Number of heads; D is at most MAX_HEAD_DIM.
        window: Rows and columns of a window's queries; windows follow in these steps as far as `q` reaches.
        key_window: Rows and columns of its keys.
        bias: (1, heads, L, L') of whole windows, contiguous.
        scale: Factor of the products.
        precision: How fp32 is multiplied, as in `tl.dot`.
        origin: Row and column of q where the first window begins, 0 or less.
        key_origin: Row and column of k and v where its keys begin.
        zero_padding: Whether keys beyond the map count.

    Returns:
        (B, H, W, heads D), of the dtype of `q`.

    Raises:
        ValueError: A head has more than MAX_HEAD_DIM channels.
    """
    batch, height, width, channels = q.shape
    dim = channels // heads
    if dim > MAX_HEAD_DIM:
        raise ValueError(f"a head of {dim} channels does not fit in registers")
    assert k.stride() == v.stride()
    assert bias.is_contiguous()
    assert bias.shape[1:] == (heads, window[0] * window[1], key_window[0] * key_window[1])
    assert all(t.stride(3) == 1 and t.dtype == q.dtype for t in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    rows, columns = (
        triton.cdiv(size - begin, step) for size, begin, step in zip((height, width), origin, window, strict=True)
    )
    tiles = triton.cdiv(window[0] * window[1], QUERIES_PER_PROGRAM)
    attend[(tiles * heads * batch * rows * columns,)](
        q, k, v, bias, out, scale,
        rows, columns, *origin, *key_origin, height, width, *k.shape[1:3],
        *q.stride()[:3], *k.stride()[:3], *out.stride()[:3],
        HEADS=heads, DIM=dim, PADDED=max(triton.next_power_of_2(dim), 16),
        WINDOW_H=window[0], WINDOW_W=window[1], KEY_WINDOW_H=key_window[0], KEY_WINDOW_W=key_window[1],
        ZERO_PADDING=zero_padding, PRECISION=precision, M=QUERIES_PER_PROGRAM, N=KEYS_PER_STEP[q.element_size()],
        num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    return out
