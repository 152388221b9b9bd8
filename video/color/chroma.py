"""Resample chroma planes to the size of luma and back, so that a round trip changes no sample.

Along each axis a pair of short filters satisfies down(up(c)) = c up to float32 rounding, also at borders and odd sizes:

- Cosited chroma (MPEG-2 and later, horizontally): up is linear interpolation, down its dual of the LeGall 5/3 wavelet,
  (-1, 2, 6, 2, -1) / 8 (Le Gall & Tabatabai, ICASSP 1988), which blocks luma's highest frequency.
- Chroma at the midpoint (vertically, and MPEG-1 and JPEG): down is the mean of two samples, as in encoders; up puts
  them on the line through the neighbors, c -+ (next - previous) / 8, the dual of that mean (Cohen, Daubechies &
  Feauveau 1992, the 1.3 pair). Linear interpolation, (1, 3) / 4, would need (-1, 3, 3, -1) / 4 as its inverse, which
  would add ringing to the result.

A factor of 4 is applied as two factors of 2. Tensors are (..., H, W), float32; border samples are repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor


def up_rows(c: Tensor, height: int, cosited: bool) -> Tensor:
    """Upsample (..., ceil(height / 2), W) to (..., height, W)."""
    rows = c.shape[-2]
    out = c.new_empty((*c.shape[:-2], height, c.shape[-1]))
    even, odd = out[..., 0::2, :], out[..., 1::2, :]
    if cosited:
        even.copy_(c)
        torch.add(c[..., : rows - 1, :], c[..., 1:, :], out=odd[..., : rows - 1, :]).mul_(0.5)
        odd[..., rows - 1 :, :] = c[..., rows - 1 :, :]  # empty if the height is odd
        return out
    slope = torch.empty_like(c)
    torch.sub(c[..., 2:, :], c[..., :-2, :], out=slope[..., 1:-1, :]) if rows > 2 else None
    torch.sub(c[..., 1:2, :], c[..., :1, :], out=slope[..., :1, :]) if rows > 1 else slope.zero_()
    if rows > 1:
        torch.sub(c[..., -1:, :], c[..., -2:-1, :], out=slope[..., -1:, :])
    torch.sub(c, slope, alpha=0.125, out=even)
    pairs = height // 2
    torch.add(c[..., :pairs, :], slope[..., :pairs, :], alpha=0.125, out=odd)
    if height % 2:  # the last chroma sample stands for one luma sample
        even[..., -1, :] = c[..., -1, :]
    return out


def down_rows(x: Tensor, cosited: bool) -> Tensor:
    """Downsample (..., H, W) to (..., ceil(H / 2), W)."""
    return _down(x[..., 0::2, :], x[..., 1::2, :], cosited, -2)


def down_columns(x: Tensor, cosited: bool) -> Tensor:
    """Downsample (..., H, W) to (..., H, ceil(W / 2))."""
    return _down(x[..., 0::2], x[..., 1::2], cosited, -1)


def _down(even: Tensor, odd: Tensor, cosited: bool, axis: int) -> Tensor:
    pairs, size = odd.shape[axis], even.shape[axis]
    if not cosited:
        out = even.clone(memory_format=torch.contiguous_format)
        out.narrow(axis, 0, pairs).add_(odd).mul_(0.5)
        return out
    # By lifting (Sweldens 1996): the error of linear interpolation is added to its neighbors.
    out = even.clone(memory_format=torch.contiguous_format)
    error = odd.clone(memory_format=torch.contiguous_format)
    error.sub_(out.narrow(axis, 0, pairs), alpha=0.5)
    inner = size - 1  # pairs that have a chroma sample on both sides
    error.narrow(axis, 0, inner).sub_(out.narrow(axis, 1, inner), alpha=0.5)
    if pairs > inner:
        error.narrow(axis, inner, 1).sub_(out.narrow(axis, inner, 1), alpha=0.5)
    out.narrow(axis, 0, pairs).add_(error, alpha=0.25)
    out.narrow(axis, 1, inner).add_(error.narrow(axis, 0, inner), alpha=0.25)
    return out


def up_columns(c: Tensor, width: int, cosited: bool) -> Tensor:
    """Upsample (..., H, ceil(width / 2)) to (..., H, width)."""
    out = c.new_empty((*c.shape[:-1], width))
    odd, even = up_odd_even_columns(c, width, cosited)
    out[..., 0::2] = even
    out[..., 1::2] = odd
    return out


def up_odd_even_columns(c: Tensor, width: int, cosited: bool) -> tuple[Tensor, Tensor]:
    """Return the odd and the even columns of `up_columns` separately, so that adding luma writes each sample once."""
    columns, pairs = c.shape[-1], width // 2
    if cosited:
        odd = c[..., :pairs].clone(memory_format=torch.contiguous_format)
        odd[..., : columns - 1].add_(c[..., 1:]).mul_(0.5)
        return odd, c
    slope = torch.zeros_like(c)
    if columns > 1:
        torch.sub(c[..., 1:], c[..., :-1], out=slope[..., :-1])
        slope[..., 1:-1].add_(c[..., 1:-1]).sub_(c[..., :-2])
        torch.sub(c[..., -1:], c[..., -2:-1], out=slope[..., -1:])
    even = torch.sub(c, slope, alpha=0.125)
    odd = torch.add(c[..., :pairs], slope[..., :pairs], alpha=0.125)
    if width % 2:
        even[..., -1] = c[..., -1]
    return odd, even
