"""HAT: hybrid attention transformer, the highest fidelity of the three families.

Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023, and "HAT: Hybrid Attention
Transformer for Image Restoration", arXiv:2309.05239.

A hybrid attention block (HAB) adds window self-attention and channel attention of one normalized input,
y = x + W-MSA(n) + α CAB(n) with n = LN(x), then an MLP; every second block shifts its windows by half. A group (RHAG)
of such blocks ends with overlapping cross-attention (OCAB): queries from a window, keys and values from a larger
window around it. CAB scales the channels of two 3x3 convolutions by a gate computed from their mean over the image.

Weights do not show α (`conv_scale`), `qk_scale`, `img_range` and `mean`; everything else can be read from them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import ops
from ..kernels.constants import Constants
from ..kernels.ops import layer_norm
from ..kernels.windows import round_up
from . import hat_config
from .common import PatchEmbed, PixelRange, residual_conv
from .hat_config import HATConfig
from .layers import convolutions, reflect_to
from .network import Grid, Network
from .strip_layers import Upsample, conv2d, conv2d_rows
from .strips import StripPlan, Strips, compute_rows, crop, gather, split_rows, strip_bounds

# --- attention ---------------------------------------------------------------------------------------------------


class Heads(nn.Module):
    """Projections into heads and out of them, and a position bias: the base of both kinds of attention.

    table_side: the distances of a query and a key along an axis.
    """

    def __init__(self, c: HATConfig, num_heads: int, table_side: int) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, (c.window_size, c.window_size)
        self.scale = c.qk_scale or (c.embed_dim // num_heads) ** -0.5
        self.qkv = nn.Linear(c.embed_dim, 3 * c.embed_dim, bias=c.qkv_bias)
        self.proj = nn.Linear(c.embed_dim, c.embed_dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(table_side**2, num_heads))
        self.constants = Constants()

    def bias_index(self) -> Tensor:
        """Return the row of the bias table for each query and key, (L, L')."""
        raise NotImplementedError

    def bias_sources(self) -> tuple[Tensor, ...]:
        return (self.relative_position_bias_table,)

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Return the position bias, (1, heads, L, L')."""
        table = self.relative_position_bias_table

        def gathered() -> Tensor:
            index = self.bias_index().to(table.device)
            return table.to(dtype)[index.reshape(-1)].T.reshape(1, self.num_heads, *index.shape).contiguous()

        return self.constants.get(("bias", dtype), (table,), gathered)


class WindowAttention(Heads):
    """Window self-attention (W-MSA) over plain or shifted windows."""

    def __init__(self, c: HATConfig, num_heads: int, shift: int) -> None:
        super().__init__(c, num_heads, 2 * c.window_size - 1)
        self.shift = shift

    def bias_index(self) -> Tensor:
        return window_bias_index(self.window[0])

    def forward(self, n: Tensor, start: int, height: int) -> Tensor:
        """(B, h, W, C) -> (B, h, W, C): rows `start` to `start + h` of an image `height` rows high.

        A shifted grid is not rolled: windows that would wrap around a border are cut there, which is what their mask
        of -100 between both sides amounts to.
        """
        return ops.window_attention(n, self, shift=self.shift, start=start, height=height)


def window_bias_index(window: int) -> Tensor:
    """Return the row of the bias table for each query and key of a window; (L, L) with L = window²."""
    at = torch.arange(window)
    d = at[:, None] - at[None, :] + window - 1  # per axis: query - key, from 0
    return _pair_index(d, 2 * window - 1)


def overlap_bias_index(window: int, overlap_window: int) -> Tensor:
    """Return the row of the bias table for each query of a window and key of the window around it; (L, L').

    The official index runs below zero and wraps around the table, hence the remainder.
    """
    d = torch.arange(overlap_window)[None, :] - torch.arange(window)[:, None] + window - overlap_window + 1
    side = window + overlap_window - 1
    return _pair_index(d, side) % side**2


def _pair_index(d: Tensor, side: int) -> Tensor:
    """Return two-dimensional table rows from the one-dimensional distances d (queries, keys) of one axis."""
    rows = d[:, None, :, None] * side + d[None, :, None, :]
    return rows.reshape(d.shape[0] ** 2, d.shape[1] ** 2)


class ChannelAttention(nn.Module):
    """CAB in two sweeps over the image, because its gate comes from a mean over the whole of it.

    The mean of the second convolution's result follows from sums over its input. So the first sweep keeps the
    compressed features between both convolutions, the second computes the wide ones where they are used.
    """

    def __init__(self, dim: int, compress_dim: int, squeeze_dim: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(dim, compress_dim, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(compress_dim, dim, 3, padding=1),
            ChannelGate(dim, squeeze_dim),
        )

    def compress(self, n: Strips) -> Strips:
        """Return the features between both convolutions."""
        compressing, _ = convolutions(self.cab)
        return conv2d(n, compressing).map(F.gelu)

    def gate(self, compressed: Tensor) -> Tensor:
        """Return the factors of the channels; (B, H, W, C') of the whole image -> (B, 1, 1, C)."""
        _, expanding = convolutions(self.cab)
        return self.cab[3](mean_of_convolution(compressed, expanding))

    def features(self, compressed: Tensor, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop` of the features before the gate, fp32."""
        _, expanding = convolutions(self.cab)
        return conv2d_rows(compressed, expanding, start, stop).float()


class ChannelGate(nn.Module):
    """sigmoid(W₂ ReLU(W₁ mean)), a factor for each channel."""

    def __init__(self, dim: int, squeeze_dim: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, squeeze_dim, 1), nn.ReLU(), nn.Conv2d(squeeze_dim, dim, 1)
        )

    def forward(self, mean: Tensor) -> Tensor:
        """(B, 1, 1, C) -> (B, 1, 1, C) fp32."""
        squeeze, excite = convolutions(self.attention)
        return torch.sigmoid(ops.conv2d(F.relu(ops.conv2d(mean, squeeze)), excite).float())


def mean_of_convolution(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return the mean over all pixels of a 3x3 convolution padded with zeros, without computing it; (B, 1, 1, C) fp32.

    Each of its nine taps sums the image except the row and the column that it never reaches.
    """
    total, rows, columns = x.sum((1, 2), dtype=torch.float32), _both_ends(x, 1).float(), _both_ends(x, 2).float()
    row_sums, column_sums, corners = rows.sum(2), columns.sum(1), _both_ends(rows, 2)
    sums = total[:, None, None].repeat(1, 3, 3, 1)
    sums[:, 0::2] -= row_sums[:, :, None]  # the upper taps miss the last row, the lower ones the first
    sums[:, :, 0::2] -= column_sums[:, None]
    sums[:, 0::2, 0::2] += corners
    mean = torch.einsum("byxi,oiyx->bo", sums, conv.weight.float()) / (x.shape[1] * x.shape[2])
    return (mean if conv.bias is None else mean + conv.bias.float())[:, None, None]


def _both_ends(x: Tensor, dim: int) -> Tensor:
    """Return the last and the first along `dim`. A list of indices would make an accelerator wait for it."""
    return torch.cat([x.narrow(dim, x.shape[dim] - 1, 1), x.narrow(dim, 0, 1)], dim)


# --- blocks ------------------------------------------------------------------------------------------------------


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.constants = Constants()

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + MLP(norm(x)); (B, H, W, C) fp32."""
        return ops.mlp(x, ops.MlpLayers(self.fc1, self.fc2, pre_norm=norm), self.constants)


class HAB(nn.Module):
    """Hybrid attention block; (B, H, W, C) -> (B, H, W, C) with sides that are multiples of the window; in fp32."""

    def __init__(self, c: HATConfig, num_heads: int, shift: int) -> None:
        super().__init__()
        self.conv_scale = c.conv_scale
        self.norm1 = nn.LayerNorm(c.embed_dim)
        self.attn = WindowAttention(c, num_heads, shift)
        self.conv_block = ChannelAttention(c.embed_dim, c.compress_dim, c.squeeze_dim)
        self.norm2 = nn.LayerNorm(c.embed_dim)
        self.mlp = Mlp(c.embed_dim, c.mlp_dim)

    def forward(self, x: Tensor, plan: StripPlan, into: Tensor | None = None) -> Tensor:
        """y = x + W-MSA(n) + α CAB(n) with n = LN(x), then y + MLP(LN(y)).

        into: See `gather`; may be `x`.
        """
        height = x.shape[1]
        n = split_rows(x, strip_bounds(height, plan.rows)).map(self.normalize)
        compressed = gather(self.conv_block.compress(n), plan)
        gate = self.conv_block.gate(compressed)

        def rows(start: int, stop: int) -> Tensor:
            x_rows = x[:, start:stop]
            y = torch.addcmul(x_rows, self.conv_block.features(compressed, start, stop), gate, value=self.conv_scale)
            y += self.attn(self.normalize(x_rows), start, height)
            return self.mlp(y, self.norm2)

        bounds = strip_bounds(height, plan.rows, self.attn.shift, self.attn.window[0])
        return gather(compute_rows(rows, bounds), plan, into)

    def normalize(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.norm1, dtype=self.attn.qkv.weight.dtype)


class OCAB(Heads):
    """Overlapping cross-attention block: queries from a window, keys and values from a larger window around it.

    Beyond the image keys and values are zero, and take part in the softmax: the zeros are put in after the
    projection, as the authors do, so that such a key's logit is its position bias alone.
    """

    def __init__(self, c: HATConfig, num_heads: int) -> None:
        super().__init__(c, num_heads, c.window_size + c.overlap_window - 1)
        self.overlap_window = c.overlap_window
        self.halo = (c.overlap_window - c.window_size) // 2
        self.norm1 = nn.LayerNorm(c.embed_dim)
        self.norm2 = nn.LayerNorm(c.embed_dim)
        self.mlp = Mlp(c.embed_dim, c.oca_mlp_dim)

    def bias_index(self) -> Tensor:
        return overlap_bias_index(self.window[0], self.overlap_window)

    def forward(self, x: Tensor, plan: StripPlan) -> Strips:
        """y = x + OCA(LN(x)), then y + MLP(LN(y)); (B, H, W, C) with sides that are multiples of the window."""
        height, halo = x.shape[1], self.halo
        qkv = torch.empty(0)  # projected rows up to `done`: from `halo` above a strip to `halo` below it
        done = 0

        def rows(start: int, stop: int) -> Tensor:
            nonlocal qkv, done
            below = min(stop + halo, height)
            if done < below:
                n = layer_norm(x[:, done:below], self.norm1, dtype=self.qkv.weight.dtype)
                more = ops.project_qkv(n, self)
                qkv = torch.cat([qkv, more], 1) if done else more
                done = below
                del n, more
            first = below - qkv.shape[1]  # the row of the image with which `qkv` begins
            third = qkv.shape[-1] // 3
            q, kv = qkv.split((third, 2 * third), dim=-1)
            q = q[:, start - first : stop - first]
            y = x[:, start:stop] + ops.overlapping_attention(q, kv, self, start - first)
            qkv = qkv[:, max(stop - halo - first, 0) :].clone() if stop < height else torch.empty(0)
            del q, kv
            return self.mlp(y, self.norm2)

        return compute_rows(rows, strip_bounds(height, plan.rows, multiple=self.window[0]))


class ResidualGroup(nn.Module):
    """The blocks of a group, then its overlapping cross-attention."""

    def __init__(self, c: HATConfig, depth: int, num_heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HAB(c, num_heads, c.shift if i % 2 else 0) for i in range(depth))
        self.overlap_attn = OCAB(c, num_heads)

    def forward(self, x: Tensor, plan: StripPlan) -> Strips:
        """(B, H, W, C), which is not written to."""
        y = x
        for block in self.blocks:
            y = block(y, plan, into=None if y is x else y)
        return self.overlap_attn(y, plan)


class RHAG(nn.Module):
    """Residual hybrid attention group: x + conv(group(x))."""

    def __init__(self, c: HATConfig, depth: int, num_heads: int) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(c, depth, num_heads)
        self.conv = residual_conv(c.embed_dim, c.resi_connection)

    def forward(self, x: Tensor, plan: StripPlan) -> Tensor:
        """(B, H, W, C), which may be written over."""
        shortcut = split_rows(x, strip_bounds(x.shape[1], plan.rows))
        return gather(self.conv(self.residual_group(x, plan)) + shortcut, plan, into=x)


class HAT(Network):
    """The whole network.

    Takes images of any size from 1x1 and mirrors them at their lower and right edge up to whole windows. In strips,
    two maps of features are there as a whole, the compressed features of one block, and the rest a strip at a time.
    """

    config_class = HATConfig
    fp32_layers = r"conv_first|conv_last|conv_after_body|layers\.\d+\.conv|.*\.conv_block\.cab\.3\..*"
    cpu_tile = 256  # or more: channel attention averages over the tile
    compiles = False  # the nine kinds of windows of each block take a compiler many minutes, for little

    def __init__(self, config: HATConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv_first = nn.Conv2d(c.in_channels, c.embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(c.embed_dim, c.patch_norm)
        self.layers = nn.ModuleList(RHAG(c, *group) for group in zip(c.depths, c.num_heads, strict=True))
        self.norm = nn.LayerNorm(c.embed_dim)
        self.conv_after_body = residual_conv(c.embed_dim, c.resi_connection)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(c.embed_dim, c.num_feat, 3, padding=1), nn.LeakyReLU())
        self.upsample = Upsample(c.scale, c.num_feat)
        self.conv_last = nn.Conv2d(c.num_feat, c.in_channels, 3, padding=1)
        self.pixel_range = PixelRange(c.mean, c.in_channels, c.img_range)
        self.mean = self.pixel_range.mean

    def grid(self) -> Grid:
        """Whole windows, two of the published size in common."""
        window = self.config.window_size
        return Grid(step=window, multiple=window, overlap=round_up(32, window))

    @property
    def row_multiple(self) -> int:
        return self.config.window_size

    def bytes_per_pixel(self, dtype: torch.dtype) -> int:
        return hat_config.bytes_per_pixel(self.config, dtype)

    def strip_bytes(self, height: int, width: int, rows: int, device: torch.device, dtype: torch.dtype) -> int:
        window_rows = rows // self.config.window_size if device.type != "cpu" else 1
        gathered = 0 if ops.attends_in_place(device) else window_rows
        return hat_config.strip_bytes(self.config, height, width, rows, dtype.itemsize, gathered)

    def work(self, height: int) -> int:
        sweeps = 2 + sum(2 * depth + 1 for depth in self.config.depths)
        return sweeps * round_up(height, self.config.window_size)

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        c = self.config
        height, width = image.shape[-2:]
        pixels = self.pixel_range.from_image(image)
        pixels = reflect_to(pixels, round_up(height, c.window_size), round_up(width, c.window_size))
        bounds = strip_bounds(pixels.shape[1], plan.rows, multiple=c.window_size)

        def shallow() -> Strips:  # cheaper to compute again than to keep
            return conv2d(split_rows(pixels, bounds), self.conv_first).map(torch.Tensor.float)

        x = gather(shallow().map(self.patch_embed), plan)
        for group in self.layers:
            x = group(x, plan)
        deep = plan.reported(split_rows(x, bounds)).map(lambda strip: layer_norm(strip, self.norm))
        y = self.reconstruct(self.conv_after_body(deep) + shallow())
        y = crop(y, height * c.scale).map(lambda strip: strip[:, :, : width * c.scale])
        return y.map(self.pixel_range.to_image)

    def reconstruct(self, x: Strips) -> Strips:
        """(B, H, W, C) -> (B, sH, sW, in_channels), fp32."""
        (conv_before_upsample,) = convolutions(self.conv_before_upsample)
        x = conv2d(x, conv_before_upsample).map(lambda strip: F.leaky_relu(strip, 0.01))
        return conv2d(self.upsample(x), self.conv_last).map(torch.Tensor.float)
