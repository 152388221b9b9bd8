"""Helpers of all networks: layouts of features, reflection, small heads.

Features are kept as (B, H, W, C) with the channels last in memory throughout; see `kernels.ops`.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from ..kernels.ops import linear


def convolutions(layers: nn.Sequential) -> tuple[nn.Conv2d, ...]:
    """Return the convolutions among the layers, in order."""
    return tuple(layer for layer in layers if isinstance(layer, nn.Conv2d))


def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution as the linear map it is; (B, H, W, in) -> (B, H, W, out)."""
    return linear(x, conv.weight[:, :, 0, 0], conv.bias)


def pixel_shuffle(x: Tensor, scale: int) -> Tensor:
    """(B, H, W, C s²) -> (B, sH, sW, C); channel c s² + dy s + dx goes to row dy, column dx (as nn.PixelShuffle)."""
    return rearrange(x, "b h w (c dy dx) -> b (h dy) (w dx) c", dy=scale, dx=scale)


def to_features(image: Tensor) -> Tensor:
    """(B, C, H, W) in any layout -> (B, H, W, C), contiguous, fp32."""
    return image.float().permute(0, 2, 3, 1).contiguous()


def to_image(features: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W) of the given dtype, contiguous."""
    return features.to(dtype).permute(0, 3, 1, 2).contiguous()


# --- reflection --------------------------------------------------------------------------------------------------


def reflected_index(size: int, padded: int, device: torch.device | str | None = None) -> Tensor:
    """Return which of `size` samples stands at each of `padded` positions when the signal is mirrored at its ends.

    The mirror is a triangle wave of period 2 (size - 1): `F.pad(mode="reflect")` where that works, and repeated
    reflection where it does not (a padding of `size` or more). One sample repeats itself.
    """
    position = torch.arange(padded, device=device)
    if size == 1:
        return torch.zeros_like(position)
    position = position % (2 * (size - 1))
    return torch.minimum(position, 2 * (size - 1) - position)


def reflect_to(x: Tensor, height: int, width: int) -> Tensor:
    """Mirror (B, H, W, C) at its lower and right edge up to height x width."""
    if x.shape[1] < height:
        x = x.index_select(1, reflected_index(x.shape[1], height, x.device))
    if x.shape[2] < width:
        x = x.index_select(2, reflected_index(x.shape[2], width, x.device))
    return x


# --- heads -------------------------------------------------------------------------------------------------------


def upsample_steps(scale: int) -> tuple[int, ...]:
    """Return the pixel shuffles that make up a scale: (2, 2) for 4, (3,) for 3. Raises ValueError for others."""
    if scale == 3:
        return (3,)
    if scale >= 1 and scale & (scale - 1) == 0:
        return (2,) * int(math.log2(scale))
    raise ValueError(f"a head of pixel shuffles can enlarge by 3 or a power of two, not by {scale}")
