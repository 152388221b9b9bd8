"""Layer normalization of pixels on CUDA in one pass, with the sums before and after it and the change of dtype."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_CHANNELS = 1024
"""More channels of a pixel do not fit in registers."""
NUMBERS_PER_PROGRAM = 2048
WARPS = 4


@triton.jit(do_not_specialize=["pixels"])
def normalize_pixels(
    x, add_before, add_after, weight, bias, out, pixels, eps,
    CHANNELS: tl.constexpr, ADD_BEFORE: tl.constexpr, ADD_AFTER: tl.constexpr,
    PIXELS: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Normalize PIXELS pixels; all maps are contiguous."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, PADDED)
    known = channel < CHANNELS
    mask = (pixel < pixels)[:, None] & known[None, :]
    at = pixel[:, None] * CHANNELS + channel[None, :]
    z = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    if ADD_BEFORE:
        z += tl.load(add_before + at, mask=mask, other=0.0).to(tl.float32)
    centered = tl.where(known[None, :], z - tl.sum(z, 1)[:, None] / CHANNELS, 0.0)
    variance = tl.sum(centered * centered, 1) / CHANNELS  # not from squares, which lose digits
    y = centered * tl.math.rsqrt(variance + eps)[:, None]
    y *= tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    y += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    if ADD_AFTER:
        y += tl.load(add_after + at, mask=mask, other=0.0).to(tl.float32)
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
    """Return norm(x + add_before) weight + bias + add_after, computed in fp32 over the last dimension.

    Args:
        x: (..., channels).
        weight: (channels).
        bias: (channels).
        eps: Added to the variance.
        add_before: Summand before the norm, expandable to the shape of `x`.
        add_after: Summand after it.
        dtype: Of the result.

    Raises:
        ValueError: There are more than MAX_CHANNELS channels.
    """
    x = x.contiguous()
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    sums = [out if t is None else t.expand_as(x).contiguous() for t in (add_before, add_after)]
    channels = x.shape[-1]
    if channels > MAX_CHANNELS:
        raise ValueError(f"{channels} channels of a pixel do not fit in registers")
    padded = triton.next_power_of_2(channels)
    pixels_per_program = max(NUMBERS_PER_PROGRAM // padded, 1)
    pixels = x.numel() // channels
    normalize_pixels[(triton.cdiv(pixels, pixels_per_program),)](
        x, *sums, weight, bias, out, pixels, eps,
        CHANNELS=channels, ADD_BEFORE=add_before is not None, ADD_AFTER=add_after is not None,
        PIXELS=pixels_per_program, PADDED=padded,
        num_warps=WARPS,
    )  # fmt: skip
    return out
