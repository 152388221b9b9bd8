"""HiT-SR: hierarchical transformers with growing windows and spatial-channel correlation of linear cost.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024. Three networks came
of it: HiT-SIR (of SwinIR-light), HiT-SNG (of SwinIR-NG, windows know their neighbors by n-grams) and HiT-SRF (of
SRFormer-light, a depthwise convolution in the MLP).

A block correlates instead of attending; there is no softmax. With queries q and values v of a window of L pixels, and
v' the values of its L' patches of r x r pixels (L' is the base window, whatever the window):

    spatial, per head:  x_s = (q v'ᵀ / d + P) v'        channel, all heads at once:  x_c = v (vᵀ q / L)

P, the position bias, comes from a small MLP over relative positions, averaged over each patch. It does not depend on
the image: here it is built once, by a box filter over the MLP's values on the (2h-1) x (2w-1) grid.

Weights do not show `img_range`, `mean` and, for HiT-SIR and HiT-SRF, the base window.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import ops
from ..kernels.constants import Constants
from ..kernels.ops import layer_norm, linear
from ..kernels.tensors import weights_of
from ..kernels.windows import grid_of_windows, round_up
from . import hitsr_config
from .common import PatchEmbed, PixelRange, residual_conv
from .hitsr_config import HiTSRConfig
from .hitsr_ngrams import NGramWindows
from .layers import convolutions, pointwise, reflect_to
from .network import Grid, Network
from .strip_layers import Upsample, conv2d, pixel_shuffle
from .strips import (
    StripPlan,
    Strips,
    crop,
    reflect_pad,
    regroup,
    split_rows,
    strip_bounds,
    zip_with,
    zip_with_views,
)

LARGEST_KEPT_BIAS = 16 * 2**20
"""Bytes of a position bias that is kept between calls. Every published network stays below; neosr's larger ones,
with windows of 128 and 192, would keep gigabytes, and lay theirs out anew from the small filtered table each time."""


# --- correlation -------------------------------------------------------------------------------------------------


class DualFeatureExtraction(nn.Module):
    """Queries and values: a small convolutional branch times a linear one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim // 5
        self.conv = nn.Sequential(
            nn.Conv2d(dim, hidden, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, dim, 1),
        )
        self.linear = nn.Conv2d(dim, dim, 1)
        self.constants = Constants()

    def forward(self, x: Strips, height: int, width: int, multiple: int = 1) -> Strips:
        """(B, H, W, C) -> (B, height, width, C), of the image's features mirrored to that size.

        multiple: Rows of each strip are a multiple of it; the height must be. What happens pixel by pixel happens
        before the mirroring, on fewer pixels.
        """
        conv_0, conv_2, conv_4 = convolutions(self.conv)
        layers = ops.DualFeatureLayers(conv_0, conv_2, conv_4, self.linear)
        in_one_pass = ops.dual_features_pass(layers, self.constants, height, width, multiple)
        if in_one_pass is not None:
            return reflect_pad(x, height).filter_map(in_one_pass)

        dim, both = self.linear.out_channels, self._both_branches(conv_0)
        x = reflect_pad(x.map(lambda strip: linear(strip, *both)), height)
        x = x.map(lambda strip: reflect_to(strip, strip.shape[1], width))
        branch = conv2d(x.map(lambda strip: F.leaky_relu(strip[..., dim:], 0.2)), conv_2)
        qv = zip_with(lambda t, x: pointwise(F.leaky_relu(t, 0.2), conv_4) * x[..., :dim], branch, x)
        return regroup(qv, multiple)

    def _both_branches(self, conv_0: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Return the weight and bias of the linear branch and of the other's first layer, one below the other."""
        sources = weights_of(self.linear, conv_0)
        weights, biases = sources[::2], sources[1::2]
        return self.constants.get("both branches", sources, lambda: (torch.cat(weights)[:, :, 0, 0], torch.cat(biases)))


class PositionMLP(nn.Module):
    """The position bias of each head as a function of a relative position (rows, columns) in pixels."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, dim)
        self.pos1 = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pos2 = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pos3 = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, num_heads))

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(self.pos_proj, *self.pos1, *self.pos2, *self.pos3)

    def forward(self, positions: Tensor) -> Tensor:
        """(n, 2) -> (n, heads), in fp32 whatever the precision: offsets reach 63, and the norm is over few channels."""
        x = positions
        for layer in (self.pos_proj, *self.pos1, *self.pos2, *self.pos3):
            if isinstance(layer, nn.Linear):
                x = F.linear(x, layer.weight.float(), layer.bias.float())
            else:
                x = layer_norm(x, layer) if isinstance(layer, nn.LayerNorm) else F.relu(x)
        return x


class Correlation(nn.Module):
    """Spatial-channel correlation (SCC) over one size of window; (B, H, W, C) -> (B, H, W, C).

    fp16 overflows in these sums over up to 4096 pixels (the authors' network turns black), so everything between the
    projections is computed in fp32.
    """

    def __init__(self, c: HiTSRConfig, num_heads: int, block: int) -> None:
        super().__init__()
        self.windows = c.windows(block, num_heads)
        self.qv = DualFeatureExtraction(c.embed_dim)
        self.proj = nn.Linear(c.embed_dim, c.embed_dim)
        self.spatial_linear = nn.Linear(self.windows.patch[0] * self.windows.patch[1], 1)
        self.pos = PositionMLP(c.embed_dim // 4 // 4, num_heads)
        self.ngram_window_partition = (
            NGramWindows(c.embed_dim, num_heads, c.window(block)) if c.variant == "SNG" else None
        )
        self.constants = Constants()

    def forward(self, x: Strips, width: int, norm: nn.LayerNorm) -> Strips:
        """x + norm(SCC(x)); `width` is that of `x`."""
        (h, w), pair = self.windows.size, 1 if self.ngram_window_partition is None else 2  # n-grams need whole pairs
        qv = self.qv(x, round_up(x.height, h * pair), round_up(width, w * pair), h).map(torch.Tensor.float)
        layers = ops.CorrelationLayers(self.spatial_linear, self.proj, norm)
        in_one_pass = ops.correlation_pass(
            self.windows, layers, self.constants, self.position_table, self.position_bias
        )
        if in_one_pass is not None:
            return zip_with_views(in_one_pass, self.with_context(qv), x)

        if self.ngram_window_partition is None:
            y = qv.map(lambda strip: self.correlate(strip, None))
        else:
            y = self.ngram_window_partition.ngram_context(qv, self.correlate)
        y = crop(y, x.height).map(lambda strip: strip[:, :, :width] + self.proj.bias.float())
        return zip_with(lambda y, x: layer_norm(y, norm, add_after=x), y, x)

    def correlate(self, qv: Tensor, context: Tensor | None) -> Tensor:
        """Whole windows, (B, h, W, C), and the context to add to each, (windows, C) -> (B, h, W, C)."""
        position_bias = self.position_bias()
        return ops.window_correlation(qv, context, self.windows, self.spatial_linear, self.proj, position_bias)

    def with_context(self, qv: Strips) -> Strips:
        """Return whole windows with the context of their neighbors added to them."""
        if self.ngram_window_partition is None:
            return qv

        def add(strip: Tensor, context: Tensor) -> Tensor:
            grid = grid_of_windows(strip, self.windows.size)
            grid.add_(context.view(*grid.shape[:2], 1, grid.shape[3], 1, -1))  # in `strip`, which has no other reader
            return strip

        return self.ngram_window_partition.ngram_context(qv, add)

    def position_table(self) -> Tensor:
        """Return the position bias by the distance of query and patch: (heads, 2h - rh, 2w - rw) fp32."""
        return self.constants.get("table", self.pos.weights(), self._filtered_table)

    def position_bias(self) -> Tensor:
        """Return P transposed: (heads, L', L) fp32."""
        sources, table = self.pos.weights(), self.position_table()
        if 4 * self.windows.heads * self.windows.pixels * self.windows.patches > LARGEST_KEPT_BIAS:
            return self._lay_out(table)
        return self.constants.get("bias", sources, lambda: self._lay_out(table))

    def _filtered_table(self) -> Tensor:
        """Return the position MLP on the grid of relative positions, averaged over a patch."""
        (h, w), device = self.windows.size, self.proj.weight.device
        rows = torch.arange(1 - h, h, device=device, dtype=torch.float32)
        columns = torch.arange(1 - w, w, device=device, dtype=torch.float32)
        positions = torch.cartesian_prod(rows, columns)
        table = self.pos(positions).T.reshape(1, self.windows.heads, 2 * h - 1, 2 * w - 1)
        return F.avg_pool2d(table, self.windows.patch, stride=1)[0].contiguous()

    def _lay_out(self, table: Tensor) -> Tensor:
        """Bias of query pixel i and key patch j is table[i - r j + h - r]: a strided view, patches backwards."""
        (h, w), (rh, rw) = self.windows.size, self.windows.patch
        head, row, column = table.stride()
        view = table.as_strided((table.shape[0], h // rh, w // rw, h, w), (head, rh * row, rw * column, row, column))
        return view.flip(1, 2).reshape(table.shape[0], -1, h * w)


# --- blocks ------------------------------------------------------------------------------------------------------


class DepthwiseConv(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Sequential(nn.Conv2d(dim, dim, 5, padding=2, groups=dim), nn.GELU())

    @property
    def conv(self) -> nn.Conv2d:
        return convolutions(self.depthwise_conv)[0]

    def forward(self, x: Strips) -> Strips:
        return conv2d(x, self.conv).map(F.gelu)


class Mlp(nn.Module):
    """MLP; in HiT-SRF with a depthwise convolution of the hidden features added to them."""

    def __init__(self, dim: int, hidden: int, depthwise: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden) if depthwise else None
        self.fc2 = nn.Linear(hidden, dim)
        self.constants = Constants()

    def layers(self, norm: nn.LayerNorm) -> ops.MlpLayers:
        dwconv = None if self.dwconv is None else self.dwconv.conv
        return ops.MlpLayers(self.fc1, self.fc2, dwconv=dwconv, post_norm=norm)

    def forward(self, x: Strips, norm: nn.LayerNorm) -> Strips:
        """x + norm(MLP(x))."""
        in_one_pass = ops.mlp_pass(self.layers(norm), self.constants, x.height)
        if in_one_pass is not None:
            return x.filter_map(in_one_pass)
        t = x.map(lambda strip: F.gelu(linear(strip, self.fc1.weight, self.fc1.bias)))
        if self.dwconv is not None:
            t = self.dwconv(t) + t
        y = t.map(lambda strip: linear(strip, self.fc2.weight, self.fc2.bias))
        return zip_with(lambda y, x: layer_norm(y, norm, add_after=x), y, x)


class HierarchicalBlock(nn.Module):
    """x + LN(SCC(x)), then x + LN(MLP(x)): the norms come after the branches. (B, H, W, C), the trunk in fp32."""

    def __init__(self, c: HiTSRConfig, num_heads: int, block: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.embed_dim)
        self.correlation = Correlation(c, num_heads, block)
        self.norm2 = nn.LayerNorm(c.embed_dim)
        self.mlp = Mlp(c.embed_dim, c.mlp_dim, depthwise=c.variant == "SRF")

    def forward(self, x: Strips, width: int) -> Strips:
        x = self.correlation(x, width, self.norm1)
        return self.mlp(x, self.norm2)


class BasicLayer(nn.Module):
    def __init__(self, c: HiTSRConfig, depth: int, num_heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HierarchicalBlock(c, num_heads, block) for block in range(depth))

    def forward(self, x: Strips, width: int) -> Strips:
        for block in self.blocks:
            x = block(x, width)
        return x


class RHTB(nn.Module):
    """Residual hierarchical transformer block: x + conv(blocks(x))."""

    def __init__(self, c: HiTSRConfig, depth: int, num_heads: int) -> None:
        super().__init__()
        self.residual_group = BasicLayer(c, depth, num_heads)
        self.conv = residual_conv(c.embed_dim, c.resi_connection)

    def forward(self, x: Strips, width: int) -> Strips:
        return self.conv(self.residual_group(x, width)) + x


class HiTSR(Network):
    """The whole network, of any of the three variants.

    Each block mirrors its own features up to whole windows. In strips, each holds as many rows as its windows have.
    """

    config_class = HiTSRConfig
    fp32_layers = (
        r"conv_first|conv_last|conv_after_body.*|layers\.\d+\.conv.*|upsample\.0|.*\.pos\..*|.*\.ngram_context\..*"
        r"|.*\.correlation\.(proj|spatial_linear)"
    )
    cpu_tile = 384
    compiles = True
    strips_wait = True

    def __init__(self, config: HiTSRConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv_first = nn.Conv2d(c.in_channels, c.embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(c.embed_dim, c.patch_norm)
        self.layers = nn.ModuleList(RHTB(c, *layer) for layer in zip(c.depths, c.num_heads, strict=True))
        self.norm = nn.LayerNorm(c.embed_dim)
        self.conv_after_body = residual_conv(c.embed_dim, c.resi_connection)
        if c.upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(
                nn.Conv2d(c.embed_dim, c.in_channels * c.scale**2, 3, padding=1), nn.PixelShuffle(c.scale)
            )
        elif c.upsampler == "":
            self.conv_last = nn.Conv2d(c.embed_dim, c.in_channels, 3, padding=1)
        else:
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(c.embed_dim, c.num_feat, 3, padding=1), nn.LeakyReLU())
            if c.upsampler == "pixelshuffle":
                self.upsample = Upsample(c.scale, c.num_feat)
            else:
                self.conv_up1 = nn.Conv2d(c.num_feat, c.num_feat, 3, padding=1)
                self.conv_up2 = nn.Conv2d(c.num_feat, c.num_feat, 3, padding=1)
                self.conv_hr = nn.Conv2d(c.num_feat, c.num_feat, 3, padding=1)
            self.conv_last = nn.Conv2d(c.num_feat, c.in_channels, 3, padding=1)
        self.pixel_range = PixelRange(c.mean, c.in_channels, c.img_range)
        self.mean = self.pixel_range.mean

    def grid(self) -> Grid:
        """The largest window, in pairs where n-grams need them.

        Windows of 6 bases align on 192 only, which would cost more overlap than it is worth.
        """
        c = self.config
        largest = max(max(c.window(block)) for block in range(max(c.depths)))
        pair = 2 if c.variant == "SNG" else 1
        return Grid(step=largest, multiple=largest * pair, overlap=round_up(32, math.ceil(largest / 2)))

    def bytes_per_pixel(self, dtype: torch.dtype) -> int:
        return hitsr_config.bytes_per_pixel(self.config, dtype)

    def strip_bytes(self, height: int, width: int, rows: int, device: torch.device, dtype: torch.dtype) -> int:
        return hitsr_config.strip_bytes(self.config, height, width, rows, self._bytes_kept(width, device, dtype))

    def _bytes_kept(self, width: int, device: torch.device, dtype: torch.dtype) -> int | None:
        """Return the bytes that a block's kernels keep from strip to strip; None where there are none."""
        c, where = self.config, (width, device, dtype)
        windows = [
            c.windows(i, heads) for depth, heads in zip(c.depths, c.num_heads, strict=True) for i in range(depth)
        ]
        features = ops.dual_features_bytes(c.embed_dim // 5, c.embed_dim, *where)
        hidden = ops.mlp_bytes(c.mlp_dim, c.embed_dim, *where)
        if features is None or hidden is None or not all(ops.supports_correlation(w, device) for w in windows):
            return None
        return features + (hidden if c.variant == "SRF" else 0)

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        c = self.config
        pixels = split_rows(self.pixel_range.from_image(image), strip_bounds(image.shape[2], plan.rows))
        shallow = conv2d(plan.reported(pixels), self.conv_first).map(torch.Tensor.float)
        x = shallow.map(self.patch_embed)
        for layer in self.layers:
            x = layer(x, image.shape[3])
        deep = x.map(lambda strip: layer_norm(strip, self.norm))
        y = self.reconstruct(self.conv_after_body(deep) + shallow)
        if c.upsampler == "":
            y = y + pixels
        return y.map(self.pixel_range.to_image)

    def reconstruct(self, x: Strips) -> Strips:
        """(B, H, W, C) -> (B, sH, sW, in_channels), fp32."""
        c = self.config
        if c.upsampler == "pixelshuffledirect":
            (conv,) = convolutions(self.upsample)
            return pixel_shuffle(conv2d(x, conv), c.scale).map(torch.Tensor.float)
        if c.upsampler == "":
            return conv2d(x, self.conv_last).map(torch.Tensor.float)
        (conv,) = convolutions(self.conv_before_upsample)
        x = conv2d(x, conv).map(lambda strip: F.leaky_relu(strip, 0.01))
        if c.upsampler == "pixelshuffle":
            x = self.upsample(x)
        else:
            for conv in (self.conv_up1, self.conv_up2):
                x = conv2d(x.map(_repeat_pixels, 2), conv).map(lambda strip: F.leaky_relu(strip, 0.2))
            x = conv2d(x, self.conv_hr).map(lambda strip: F.leaky_relu(strip, 0.2))
        return conv2d(x, self.conv_last).map(torch.Tensor.float)


def _repeat_pixels(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, 2 H, 2 W, C), each pixel four times."""
    return x.repeat_interleave(2, 1).repeat_interleave(2, 2)
