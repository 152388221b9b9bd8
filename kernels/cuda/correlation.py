"""HiT-SR's correlation on CUDA: one pass over each window for its sums, and one for its results.

All of it is fp32 arithmetic with matrices of 30 to 64 numbers a side, each of which PyTorch writes to memory: windows
cut out, values summed into patches, the position term and its transpose, and a matrix of C x C for each window, which
for a window of 4x4 has four times the numbers of the window itself. Here they stay in registers. Only the products with
the position bias are one matrix product of PyTorch's, between both kernels: it is large, and exact in fp32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_HALF = 32
"""Channels of the queries, and of the values: more do not fit in registers."""
MAX_PATCHES = 64
PIXELS_PER_PROGRAM = 32
"""With 64, products in three TF32 parts do not fit in registers."""


@triton.jit
def _pixels(qv, context, at, known, window, HALF: tl.constexpr, PADDED: tl.constexpr, CONTEXT: tl.constexpr):
    """Load queries and values of pixels, plus the context of their window; (pixels, PADDED) each."""
    channel = tl.arange(0, PADDED)
    mask = known[:, None] & (channel < HALF)[None, :]
    q = tl.load(qv + at[:, None] + channel[None, :], mask=mask, other=0.0)
    v = tl.load(qv + at[:, None] + HALF + channel[None, :], mask=mask, other=0.0)
    if CONTEXT:
        of_window = context + window.to(tl.int64) * (2 * HALF) + channel
        q += tl.where(mask, tl.load(of_window, mask=channel < HALF, other=0.0)[None, :], 0.0)
        v += tl.where(mask, tl.load(of_window + HALF, mask=channel < HALF, other=0.0)[None, :], 0.0)
    return q, v


@triton.jit
def _corner(
    window, rows, columns, batch_stride, row_stride,
    WINDOW_H: tl.constexpr, WINDOW_W: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Return the offset of a window's first pixel in a map."""
    batch = (window // (rows * columns)).to(tl.int64)
    row = (window // columns % rows * WINDOW_H).to(tl.int64)
    return batch * batch_stride + row * row_stride + window % columns * (WINDOW_W * 2 * HALF)


@triton.jit
def _channel_offset(channel, window, windows, HEADS: tl.constexpr, HALF: tl.constexpr):
    """Return the offset of a channel of a window in (heads, windows, d)."""
    DIM: tl.constexpr = HALF // HEADS
    return ((channel // DIM).to(tl.int64) * windows + window) * DIM + channel % DIM


@triton.jit(do_not_specialize=["rows", "columns", "windows"])
def sum_window(
    qv, context, weight, bias, patches, channel_sums, rows, columns, windows, batch_stride, row_stride,
    HEADS: tl.constexpr, HALF: tl.constexpr, PADDED: tl.constexpr, PATCHES_H: tl.constexpr, PATCHES_W: tl.constexpr,
    PATCHES: tl.constexpr, PATCH_H: tl.constexpr, PATCH_W: tl.constexpr, CONTEXT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sum the share of v' and of vᵀ q that one row of pixels in every patch of a window has.

    patches: (PATCH_H, heads, windows, d, L'); channel_sums: (PATCH_H, windows, HALF, HALF).
    """
    HEIGHT: tl.constexpr = PATCHES_H * PATCH_H
    WIDTH: tl.constexpr = PATCHES_W * PATCH_W
    window, down = tl.program_id(0), tl.program_id(1)
    patch = tl.arange(0, PATCHES)
    known = patch < PATCHES_H * PATCHES_W
    corner = _corner(window, rows, columns, batch_stride, row_stride, HEIGHT, WIDTH, HALF)
    y, x = patch // PATCHES_W * PATCH_H + down, patch % PATCHES_W * PATCH_W
    at = corner + y.to(tl.int64) * row_stride + x * (2 * HALF)
    total = tl.zeros([PATCHES, PADDED], tl.float32)
    if down == 0:
        total += tl.load(bias)
    products = tl.zeros([PADDED, PADDED], tl.float32)
    for across in range(PATCH_W):
        q, v = _pixels(qv, context, at + across * (2 * HALF), known, window, HALF, PADDED, CONTEXT)
        total += v * tl.load(weight + down * PATCH_W + across)
        products = tl.dot(tl.trans(v), q, acc=products, input_precision=PRECISION)
    channel = tl.arange(0, PADDED)
    shown = channel < HALF
    PATCH_COUNT: tl.constexpr = PATCHES_H * PATCHES_W
    at = down.to(tl.int64) * windows * HALF + _channel_offset(channel, window, windows, HEADS, HALF)
    at = (at * PATCH_COUNT)[None, :] + patch[:, None]
    tl.store(patches + at, total, mask=known[:, None] & shown[None, :])
    at = ((down.to(tl.int64) * windows + window) * HALF + channel)[:, None] * HALF + channel[None, :]
    tl.store(channel_sums + at, products, mask=shown[:, None] & shown[None, :])


@triton.jit(do_not_specialize=["rows", "columns", "windows"])
def correlate(
    qv, context, patches, positions, channel_sums, proj, out,
    rows, columns, windows, batch_stride, row_stride, out_batch, out_row,
    HEADS: tl.constexpr, HALF: tl.constexpr, PADDED: tl.constexpr, WINDOW_H: tl.constexpr, WINDOW_W: tl.constexpr,
    PATCH_COUNT: tl.constexpr, PATCHES: tl.constexpr, CONTEXT: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Compute both correlations of M pixels of a window and project them.

    patches: (heads, windows, d, L'); positions: (heads, windows, d, L).
    """
    DIM: tl.constexpr = HALF // HEADS
    LENGTH: tl.constexpr = WINDOW_H * WINDOW_W
    TILES: tl.constexpr = (LENGTH + M - 1) // M
    window, tile = tl.program_id(0) // TILES, tl.program_id(0) % TILES
    pixel = tile * M + tl.arange(0, M)
    known = pixel < LENGTH
    y, x = (pixel // WINDOW_W).to(tl.int64), pixel % WINDOW_W * (2 * HALF)
    corner = _corner(window, rows, columns, batch_stride, row_stride, WINDOW_H, WINDOW_W, HALF)
    q, v = _pixels(qv, context, corner + y * row_stride + x, known, window, HALF, PADDED, CONTEXT)

    channel = tl.arange(0, PADDED)
    shown = channel < HALF
    channel_offset = _channel_offset(channel, window, windows, HEADS, HALF)
    patch = tl.arange(0, PATCHES)
    at = (channel_offset * PATCH_COUNT)[None, :] + patch[:, None]
    summed = tl.load(patches + at, mask=(patch < PATCH_COUNT)[:, None] & shown[None, :], other=0.0)
    gram = tl.dot(tl.trans(summed), summed, input_precision=PRECISION)
    gram = tl.where((channel // DIM)[:, None] == (channel // DIM)[None, :], gram / DIM, 0.0)
    at = (channel_offset * LENGTH)[None, :] + pixel[:, None]
    spatial = tl.load(positions + at, mask=known[:, None] & shown[None, :], other=0.0)
    spatial = tl.dot(q, gram, acc=spatial, input_precision=PRECISION)

    at = (window.to(tl.int64) * HALF + channel)[:, None] * HALF + channel[None, :]
    matrix = tl.load(channel_sums + at, mask=shown[:, None] & shown[None, :], other=0.0) / LENGTH
    by_channel = tl.dot(v, matrix, input_precision=PRECISION)

    to = tl.arange(0, 2 * PADDED)
    at = to[None, :] * (2 * HALF) + channel[:, None]
    mask = shown[:, None] & (to < 2 * HALF)[None, :]
    result = tl.dot(spatial, tl.load(proj + at, mask=mask, other=0.0), input_precision=PRECISION)
    projection = tl.load(proj + HALF + at, mask=mask, other=0.0)
    result = tl.dot(by_channel, projection, acc=result, input_precision=PRECISION)
    corner = _corner(window, rows, columns, out_batch, out_row, WINDOW_H, WINDOW_W, HALF)
    at = (corner + y * out_row + x)[:, None] + to[None, :]
    tl.store(out + at, result, mask=known[:, None] & (to < 2 * HALF)[None, :])


def window_correlation(
    qv: Tensor,
    context: Tensor | None,
    *,
    window: tuple[int, int],
    patch: tuple[int, int],
    heads: int,
    patch_weight: Tensor,
    patch_bias: Tensor,
    position_bias: Tensor,
    proj: Tensor,
    precision: str,
) -> Tensor:
    """Return both correlations of every window, projected, without the projection's bias.

    Args:
        qv: Whole windows of [q, v], (B, h, W, C), fp32; C is at most 2 MAX_HALF.
        context: Added to the pixels of each window, (B h' W', C) for h' x W' windows.
        window: Rows and columns of a window.
        patch: Rows and columns of a patch in it; a window has at most MAX_PATCHES.
        heads: Number of heads, which share half of the channels.
        patch_weight: Of the pixels of a patch, (1, patch[0] * patch[1]).
        patch_bias: (1).
        position_bias: (heads, patches, pixels), fp32.
        proj: (C, C).
        precision: How fp32 is multiplied, as in `tl.dot`.

    Returns:
        (B, h, W, C), fp32.

    Raises:
        ValueError: There are more channels or patches than fit in registers.
    """
    batch, height, width, channels = qv.shape
    half, length = channels // 2, window[0] * window[1]
    patches = window[0] // patch[0], window[1] // patch[1]
    patch_count = patches[0] * patches[1]
    if half > MAX_HALF or patch_count > MAX_PATCHES:
        raise ValueError(f"{channels} channels and {patch_count} patches of a window do not fit in registers")
    if qv.stride()[2:] != (channels, 1):
        qv = qv.contiguous()
    rows, columns = height // window[0], width // window[1]
    windows = batch * rows * columns
    given = {
        "HEADS": heads, "HALF": half, "PADDED": max(triton.next_power_of_2(half), 16), "CONTEXT": context is not None,
        "PATCHES": max(triton.next_power_of_2(patch_count), 16), "PRECISION": precision, "num_stages": 2,
    }  # fmt: skip
    context_or_any = qv if context is None else context.contiguous()
    summed = qv.new_empty(patch[0], heads, windows * (half // heads), patch_count)
    sums = qv.new_empty(patch[0], windows, half, half)
    sum_window[(windows, patch[0])](
        qv, context_or_any, patch_weight.float().contiguous(), patch_bias.float(), summed, sums,
        rows, columns, windows, *qv.stride()[:2],
        PATCHES_H=patches[0], PATCHES_W=patches[1], PATCH_H=patch[0], PATCH_W=patch[1],
        num_warps=_warps(patch_count), **given,
    )  # fmt: skip
    summed, sums = (t[0] if len(t) == 1 else t.sum(0) for t in (summed, sums))
    positions = torch.bmm(summed, position_bias)  # (heads, windows d, L)
    out = torch.empty(qv.shape, dtype=qv.dtype, device=qv.device)
    tile = min(max(triton.next_power_of_2(length), 16), PIXELS_PER_PROGRAM)
    correlate[(windows * triton.cdiv(length, tile),)](
        qv, context_or_any, summed, positions, sums, proj.float().contiguous(), out,
        rows, columns, windows, *qv.stride()[:2], *out.stride()[:2],
        WINDOW_H=window[0], WINDOW_W=window[1], PATCH_COUNT=patch_count, M=tile, num_warps=_warps(tile), **given,
    )  # fmt: skip
    return out


def _warps(pixels: int) -> int:
    """Return the warps of a program that computes so many pixels at once."""
    return 1 if pixels <= 16 else 4
