"""Layers that HAT and HiT-SR inherit from Swin: pixel range, patch embedding, residual convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels.constants import Constants
from ..kernels.ops import layer_norm
from .layers import convolutions, to_features
from .strip_layers import conv2d
from .strips import Strips

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""The mean of DIV2K, which HAT and HiT-SR subtract from RGB input; other channel counts have a mean of 0."""


def default_mean(channels: int) -> tuple[float, ...]:
    return RGB_MEAN if channels == 3 else (0.0,) * channels


class PixelRange:
    """The numbers that a network computes with: (image - mean) img_range."""

    def __init__(self, mean: tuple[float, ...] | None, channels: int, img_range: float) -> None:
        self.mean, self._range = mean or default_mean(channels), img_range
        self._constants = Constants()

    def from_image(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, H, W, C) fp32."""
        return (to_features(image) - self._mean_on(image.device)) * self._range

    def to_image(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C) in [0, 1], unclamped."""
        return x / self._range + self._mean_on(x.device)

    def _mean_on(self, device: torch.device) -> Tensor:
        return self._constants.get(("mean", device), (), lambda: torch.tensor(self.mean, device=device))


class PatchEmbed(nn.Module):
    """Only the optional normalization of what was once a patch embedding."""

    def __init__(self, dim: int, patch_norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim) if patch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.norm is None else layer_norm(x, self.norm)


def residual_conv(dim: int, connection: str) -> nn.Module:
    """Return the layers on strips before a residual sum: "1conv", "3conv" or "identity"."""
    if connection == "identity":
        return nn.Identity()
    return ResidualConv(dim) if connection == "1conv" else ResidualConvs(dim)


class ResidualConv(nn.Conv2d):
    """A 3x3 convolution of strips."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 3, padding=1)

    def forward(self, x: Strips) -> Strips:  # type: ignore[override]
        return conv2d(x, self)


class ResidualConvs(nn.Sequential):
    """Three convolutions of strips, 3x3, 1x1 and 3x3, through a quarter of the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.Conv2d(dim, dim // 4, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 4, dim // 4, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 4, dim, 3, padding=1),
        )

    def forward(self, x: Strips) -> Strips:
        first, middle, last = convolutions(self)
        x = conv2d(x, first).map(lambda strip: F.leaky_relu(strip, 0.2))
        x = conv2d(x, middle).map(lambda strip: F.leaky_relu(strip, 0.2))
        return conv2d(x, last)
