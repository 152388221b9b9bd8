"""VapSR: pixel attention with a vast receptive field, from depthwise convolutions.

Zhou et al., "Efficient Image Super-Resolution using Vast-Receptive-Field Attention", ECCV Workshops 2022.

A block projects the features, t = GELU(W₁x), looks around every pixel with a 5x5 and a dilated 5x5 depthwise
convolution (together 17x17), g = DWD(DW(W t)), gates with it, and normalizes each pixel over its channels after the
residual sum: x' = LayerNorm(W₂(t ⊙ g) + x). Nothing looks farther than its kernels, so tiles with enough overlap are
exact.

All hyper-parameters show in the shapes of the weights. There is no mean, no range and no padding of the image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import ops
from ..kernels.constants import Constants
from . import vapsr_config, vapsr_start
from .layers import convolutions, pointwise, to_features
from .network import MIN_STRIP_ROWS, Grid, Network
from .strip_layers import conv2d, pixel_shuffle
from .strips import StripPlan, Strips, split_rows, strip_bounds, zip_with
from .vapsr_config import VapSRConfig


class PixelAttention(nn.Module):
    """The attention branch: pointwise, 5x5 depthwise, 5x5 depthwise with dilation 3."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(dim, dim, 1)
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.depthwise_dilated = nn.Conv2d(dim, dim, 5, padding=6, dilation=3, groups=dim)

    def forward(self, t: Strips) -> Strips:
        g = conv2d(t.map(lambda strip: pointwise(strip, self.pointwise)), self.depthwise)
        return conv2d(g, self.depthwise_dilated, factor=t)


class VAB(nn.Module):
    """One block of vast-receptive-field attention; (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, num_feat: int, attention_dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(num_feat, attention_dim, 1)
        self.atten_branch = PixelAttention(attention_dim)
        self.proj_2 = nn.Conv2d(attention_dim, num_feat, 1)
        self.pixel_norm = nn.LayerNorm(num_feat)
        nn.init.constant_(self.pixel_norm.weight, 0.1)  # as the authors train it
        self.constants = Constants()

    def layers(self) -> ops.VabLayers:
        attention = self.atten_branch
        return ops.VabLayers(
            self.proj_1,
            attention.pointwise,
            attention.depthwise,
            attention.depthwise_dilated,
            self.proj_2,
            self.pixel_norm,
        )

    def forward(self, x: Strips) -> Strips:
        in_one_pass = ops.vab_pass(self.layers(), self.constants, x.height)
        if in_one_pass is not None:
            return x.filter_map(in_one_pass)
        t = x.map(lambda strip: F.gelu(pointwise(strip, self.proj_1)))
        y = self.atten_branch(t).map(lambda strip: pointwise(strip, self.proj_2))
        return zip_with(lambda y, x: ops.layer_norm(y, self.pixel_norm, add_before=x), y, x)


class VapSR(Network):
    """The whole network. In strips, every block holds the few rows that its kernels reach, and no map is ever whole."""

    config_class = VapSRConfig
    fp32_layers = r"conv_first|upsampler\.[23]"
    cpu_tile = 512
    compiles = True

    def __init__(self, config: VapSRConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv_first = nn.Conv2d(c.in_channels, c.num_feat, 3, padding=1)
        self.body = nn.ModuleList(VAB(c.num_feat, c.attention_dim) for _ in range(c.num_blocks))
        self.conv_body = nn.Conv2d(c.num_feat, c.num_feat, 3, padding=1, groups=c.conv_groups)
        self.upsampler = TwoStepHead(c) if c.scale == 4 else SingleStepHead(c)

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        pixels = plan.reported(split_rows(to_features(image), strip_bounds(image.shape[2], plan.rows)))
        x = shallow = conv2d(pixels, self.conv_first)
        for block in self.body:
            x = block(x)
        return self.upsampler(conv2d(x, self.conv_body) + shallow).map(torch.Tensor.float)

    def grid(self) -> Grid:
        """Any tiles; 32 pixels of context leave an error of 1.5e-5 (section "Tiles" of docs/architecture.md)."""
        return Grid(step=1, multiple=1, overlap=32)

    def min_rows(self, device: torch.device) -> int:
        """Every strip on a CPU reads what the blocks' kernels keep of the one before, 24 rows: it pays from 64 on."""
        return 4 * MIN_STRIP_ROWS if device.type == "cpu" else MIN_STRIP_ROWS

    def bytes_per_pixel(self, dtype: torch.dtype) -> int:
        return vapsr_config.bytes_per_pixel(self.config, dtype)

    def strip_bytes(self, height: int, width: int, rows: int, device: torch.device, dtype: torch.dtype) -> int:
        kept = ops.vab_bytes(self.config.attention_dim, self.config.num_feat, width, device, dtype)
        return vapsr_config.strip_bytes(self.config, height, width, rows, dtype.itemsize, kept)

    @torch.no_grad()
    def start_training(self) -> None:
        vapsr_start.start_as_interpolation(self)


class SingleStepHead(nn.Sequential):
    """Convolution to 56 channels, LeakyReLU, convolution, one pixel shuffle: every scale but 4."""

    def __init__(self, c: VapSRConfig) -> None:
        super().__init__(
            nn.Conv2d(c.num_feat, 56, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(56, c.out_channels * c.scale**2, 3, padding=1),
        )
        self.scale = c.scale

    def forward(self, x: Strips) -> Strips:
        first, last = convolutions(self)
        x = conv2d(x, first).map(lambda strip: F.leaky_relu(strip, 0.1))
        return pixel_shuffle(conv2d(x, last), self.scale)


class TwoStepHead(nn.Sequential):
    """Convolution, pixel shuffle by 2, LeakyReLU, and once more without the activation: scale 4."""

    def __init__(self, c: VapSRConfig) -> None:
        super().__init__(
            nn.Conv2d(c.num_feat, 64, 3, padding=1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, c.out_channels * 4, 3, padding=1),
        )

    def forward(self, x: Strips) -> Strips:
        first, last = convolutions(self)
        x = pixel_shuffle(conv2d(x, first), 2).map(lambda strip: F.leaky_relu(strip, 0.1))
        return pixel_shuffle(conv2d(x, last), 2)
