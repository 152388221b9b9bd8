"""Depthwise 5x5 convolutions on CUDA, of any dilation, with the product that follows in VapSR.

25 multiplications for every number that is read: such a convolution is bound by how often it reads. A program computes
four rows that lie a dilation apart, which share the rows they read, so 40 reads from the first-level cache serve four
results. VapSR's pair of them stays two kernels: in one, a tile of 16x16 pixels would compute 28x28 of the map between
both, and Triton cannot shift a tile that lies in registers or shared memory to find its neighbors.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 8  # of a tile, by up to 64 channels: 4 channels a thread, whose 100 weights stay in registers
CHANNELS = 64
WARPS = 4


@triton.jit
def _tap(total, x, weights, y: tl.constexpr, column: tl.constexpr, stride, here):
    """One row's share of a result `y` rows below the uppermost that it reads."""
    if y >= 0 and y < 5:
        total += x * tl.load(weights + (y * 5 + column) * stride, mask=here, other=0.0).to(tl.float32)[None, :]
    return total


@triton.jit
def _kept(out, total, factor, y, height, at, mask, factor_at, FACTOR: tl.constexpr):
    mask = mask & (y < height)
    if FACTOR:
        total *= tl.load(factor + factor_at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows", "first", "height", "width", "groups"])
def convolve(
    x, weight, bias, factor, out, rows, first, height, width, groups,
    x_batch, x_row, factor_batch, factor_row, out_batch, out_row,
    OF_PIXEL: tl.constexpr, DILATION: tl.constexpr, FACTOR: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Four rows by COLUMNS by CHANNELS; see `depthwise`. rows, height: of x and of out; groups: of four rows.

    OF_PIXEL: its channels, a constant so that the compiler sees which reads are aligned.
    """
    across = (width + COLUMNS - 1) // COLUMNS
    left = tl.program_id(0) % across * COLUMNS
    group = tl.program_id(0) // across % groups
    batch = (tl.program_id(0) // (across * groups)).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    top = group // DILATION * (4 * DILATION) + group % DILATION
    column = left + tl.arange(0, COLUMNS)
    here = channel < OF_PIXEL
    weights = weight + channel
    x += batch * x_batch
    start = tl.load(bias + channel, mask=here, other=0.0).to(tl.float32)
    total0 = tl.zeros([COLUMNS, CHANNELS], tl.float32) + start[None, :]
    total1, total2, total3 = total0, total0, total0
    for y in tl.static_range(8):
        row = top + first + (y - 2) * DILATION
        x_of_row = x + row.to(tl.int64) * x_row
        for tap in tl.static_range(5):
            from_column = column + (tap - 2) * DILATION
            inside = (row >= 0) & (row < rows) & (from_column >= 0) & (from_column < width)
            at = (from_column * OF_PIXEL)[:, None] + channel[None, :]
            read = tl.load(x_of_row + at, mask=inside[:, None] & here[None, :], other=0.0).to(tl.float32)
            total0 = _tap(total0, read, weights, y, tap, OF_PIXEL, here)
            total1 = _tap(total1, read, weights, y - 1, tap, OF_PIXEL, here)
            total2 = _tap(total2, read, weights, y - 2, tap, OF_PIXEL, here)
            total3 = _tap(total3, read, weights, y - 3, tap, OF_PIXEL, here)

    mask = (column < width)[:, None] & here[None, :]
    pixels = (column * OF_PIXEL)[:, None] + channel[None, :]
    at, of_factor = pixels + batch * out_batch, pixels + batch * factor_batch
    for i in tl.static_range(4):
        y = (top + i * DILATION).to(tl.int64)
        total = total0 if i == 0 else (total1 if i == 1 else (total2 if i == 2 else total3))
        _kept(out, total, factor, y, height, at + y * out_row, mask, of_factor + y * factor_row, FACTOR)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor, dilation: int, factor: Tensor | None = None, *, rows_padded: bool = True
) -> Tensor:
    """A 5x5 convolution of each channel of (B, H, W, C), its borders padded with zeros, times `factor`.

    weight (C, 1, 5, 5) and bias (C) are of any dtype; the result has that of `x`, sums are in fp32. rows_padded: False
    where `x` brings 2 `dilation` rows above and below that the padding stands for.
    """
    batch, rows, width, channels = x.shape
    first = 0 if rows_padded else 2 * dilation
    height = rows - 2 * first
    assert bias.shape == (channels,)
    out = torch.empty(batch, height, width, channels, dtype=x.dtype, device=x.device)
    times = out if factor is None else _rows_whole(factor)
    assert times.shape == out.shape
    x, weight = _rows_whole(x), weight.reshape(channels, 25).t().contiguous()
    groups = triton.cdiv(height, 4 * dilation) * dilation
    block = min(triton.next_power_of_2(channels), CHANNELS)
    convolve[(triton.cdiv(width, COLUMNS) * groups * batch, triton.cdiv(channels, block))](
        x, weight, bias, times, out, rows, first, height, width, groups,
        *x.stride()[:2], *times.stride()[:2], *out.stride()[:2],
        OF_PIXEL=channels, DILATION=dilation, FACTOR=factor is not None, COLUMNS=COLUMNS, CHANNELS=block,
        num_warps=WARPS,
    )  # fmt: skip
    return out


def _rows_whole(piece: Tensor) -> Tensor:
    return piece if piece.stride()[2:] == (piece.shape[3], 1) else piece.contiguous()
