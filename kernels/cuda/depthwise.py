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

from ..tensors import dense_rows

COLUMNS = 8
"""Pixels of a program in each of its four rows."""
CHANNELS = 64
"""Of a program, at most: 4 a thread, whose 100 weights stay in registers."""
WARPS = 4


@triton.jit
def _tap(total, x, weights, y: tl.constexpr, column: tl.constexpr, stride, here):
    """Add the product with one tap, in row `y` of the kernel; rows outside of it add nothing."""
    if y >= 0 and y < 5:
        total += x * tl.load(weights + (y * 5 + column) * stride, mask=here, other=0.0).to(tl.float32)[None, :]
    return total


@triton.jit
def _store(out, total, factor, y, height, at, mask, factor_at, FACTOR: tl.constexpr):
    mask = mask & (y < height)
    if FACTOR:
        total *= tl.load(factor + factor_at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows", "first", "height", "width", "groups"])
def convolve(
    x, weight, bias, factor, out, rows, first, height, width, groups,
    x_batch, x_row, factor_batch, factor_row, out_batch, out_row,
    PIXEL: tl.constexpr, DILATION: tl.constexpr, FACTOR: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Convolve four rows by COLUMNS by CHANNELS; see `depthwise`.

    Args:
        rows: Of x.
        first: The row of x on which row 0 of the result is centered.
        height: Rows of the result.
        groups: Of four rows of the result.
        PIXEL: Channels of a pixel, a constant so that the compiler sees which reads are aligned.
    """
    across = (width + COLUMNS - 1) // COLUMNS
    left = tl.program_id(0) % across * COLUMNS
    group = tl.program_id(0) // across % groups
    batch = (tl.program_id(0) // (across * groups)).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    top = group // DILATION * (4 * DILATION) + group % DILATION
    column = left + tl.arange(0, COLUMNS)
    here = channel < PIXEL
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
            at = (from_column * PIXEL)[:, None] + channel[None, :]
            read = tl.load(x_of_row + at, mask=inside[:, None] & here[None, :], other=0.0).to(tl.float32)
            total0 = _tap(total0, read, weights, y, tap, PIXEL, here)
            total1 = _tap(total1, read, weights, y - 1, tap, PIXEL, here)
            total2 = _tap(total2, read, weights, y - 2, tap, PIXEL, here)
            total3 = _tap(total3, read, weights, y - 3, tap, PIXEL, here)

    mask = (column < width)[:, None] & here[None, :]
    pixels = (column * PIXEL)[:, None] + channel[None, :]
    at, factor_offset = pixels + batch * out_batch, pixels + batch * factor_batch
    for i in tl.static_range(4):
        y = (top + i * DILATION).to(tl.int64)
        total = total0 if i == 0 else (total1 if i == 1 else (total2 if i == 2 else total3))
        _store(out, total, factor, y, height, at + y * out_row, mask, factor_offset + y * factor_row, FACTOR)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor, dilation: int, factor: Tensor | None = None, *, rows_padded: bool = True
) -> Tensor:
    """Return a 5x5 convolution of each channel, times `factor`; borders are padded with zeros, sums are in fp32.

    Args:
        x: (B, H, W, C).
        weight: (C, 1, 5, 5), of any dtype.
        bias: (C), of any dtype.
        dilation: Of the convolution.
        factor: Of the shape of the result.
        rows_padded: False if `x` includes the 2 `dilation` rows above and below that padding would add.

    Returns:
        (B, H, W, C), or with `rows_padded=False` (B, H - 4 dilation, W, C); of the dtype of `x`.
    """
    batch, rows, width, channels = x.shape
    first = 0 if rows_padded else 2 * dilation
    height = rows - 2 * first
    assert bias.shape == (channels,)
    out = torch.empty(batch, height, width, channels, dtype=x.dtype, device=x.device)
    times = out if factor is None else dense_rows(factor)
    assert times.shape == out.shape
    x, weight = dense_rows(x), weight.reshape(channels, 25).t().contiguous()
    groups = triton.cdiv(height, 4 * dilation) * dilation
    block = min(triton.next_power_of_2(channels), CHANNELS)
    convolve[(triton.cdiv(width, COLUMNS) * groups * batch, triton.cdiv(channels, block))](
        x, weight, bias, times, out, rows, first, height, width, groups,
        *x.stride()[:2], *times.stride()[:2], *out.stride()[:2],
        PIXEL=channels, DILATION=dilation, FACTOR=factor is not None, COLUMNS=COLUMNS, CHANNELS=block,
        num_warps=WARPS,
    )  # fmt: skip
    return out
