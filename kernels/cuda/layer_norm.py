"""Layer normalization of pixels on CUDA, with the sums around it and the change of dtype behind it, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST = 1024  # channels of a pixel that lie in registers
NUMBERS = 2048  # of a tile
WARPS = 4


@triton.jit(do_not_specialize=["pixels"])
def normalize_pixels(
    x, before, after, weight, bias, out, pixels, eps,
    CHANNELS: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr, PIXELS: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """A tile of pixels; all maps contiguous."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, PADDED)
    known = channel < CHANNELS
    mask = (pixel < pixels)[:, None] & known[None, :]
    at = pixel[:, None] * CHANNELS + channel[None, :]
    z = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    if BEFORE:
        z += tl.load(before + at, mask=mask, other=0.0).to(tl.float32)
    centered = tl.where(known[None, :], z - tl.sum(z, 1)[:, None] / CHANNELS, 0.0)
    variance = tl.sum(centered * centered, 1) / CHANNELS  # of differences to the mean: of squares it would lose digits
    y = centered * tl.math.rsqrt(variance + eps)[:, None]
    y *= tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    y += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    if AFTER:
        y += tl.load(after + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=mask)


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    *,
    add_before: Tensor | None = None,
    add_after: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """norm(x + add_before) weight + bias + add_after, over the last dimension; all of the shape of `x`, in `dtype`."""
    x = x.contiguous()
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    sums = [out if t is None else t.expand_as(x).contiguous() for t in (add_before, add_after)]
    channels = x.shape[-1]
    if channels > LARGEST:
        raise ValueError(f"{channels} channels of a pixel do not fit in registers")
    padded = triton.next_power_of_2(channels)
    tile = max(NUMBERS // padded, 1)
    pixels = x.numel() // channels
    normalize_pixels[(triton.cdiv(pixels, tile),)](
        x, *sums, weight, bias, out, pixels, eps,
        CHANNELS=channels, BEFORE=add_before is not None, AFTER=add_after is not None, PIXELS=tile, PADDED=padded,
        num_warps=WARPS,
    )  # fmt: skip
    return out
