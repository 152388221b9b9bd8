"""HAT: hybrid attention transformer, the highest fidelity of the three families.

Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023, and "HAT: Hybrid Attention
Transformer for Image Restoration", arXiv:2309.05239.

A hybrid attention block (HAB) adds window self-attention and channel attention of one normalized input,
y = x + W-MSA(n) + α CAB(n) with n = LN(x), then an MLP; every second block shifts its windows by half. A group (RHAG)
of such blocks ends with overlapping cross-attention (OCAB): queries from a window, keys and values from a larger
window around it. CAB scales the channels of two 3x3 convolutions by a gate computed from their mean over the image.

Not to be seen in the weights: α (`conv_scale`), `qk_scale`, `img_range` and `mean`. Everything else is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, starmap

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import autotune
from ..kernels.cpu import attention as kernel
from ..kernels.cpu import mlp
from ..kernels.cpu.bands import BandKernel
from . import layers
from .layers import (
    Constants,
    default_mean,
    grid_from_windows,
    grid_of_windows,
    layer_norm,
    linear,
    reflect_to,
    round_up,
    to_features,
    windows_of,
)
from .network import Network
from .strip_layers import Upsample, conv2d, conv2d_rows
from .strips import StripPlan, Strips, crop, gather, split_rows, strip_bounds


@dataclass(frozen=True)
class HATConfig:
    """Hyper-parameters; the defaults are the published HAT x4.

    Widths stand here as they stand in the weights (`compress_dim` instead of a compress ratio), because a ratio cannot
    be computed back from a rounded width. `mean=None` means the family's own: DIV2K's for RGB, else 0.
    """

    scale: int = 4
    in_channels: int = 3
    embed_dim: int = 180
    depths: tuple[int, ...] = (6,) * 6
    num_heads: tuple[int, ...] = (6,) * 6
    window_size: int = 16
    overlap_window: int = 24
    compress_dim: int = 60
    squeeze_dim: int = 6
    mlp_dim: int = 360
    oca_mlp_dim: int = 360
    num_feat: int = 64
    qkv_bias: bool = True
    patch_norm: bool = True
    resi_connection: str = "1conv"
    conv_scale: float = 0.01
    qk_scale: float | None = None
    img_range: float = 1.0
    mean: tuple[float, ...] | None = None
    shifted: bool = True

    def __post_init__(self) -> None:
        if self.overlap_window < self.window_size or (self.overlap_window - self.window_size) % 2:
            raise ValueError(
                f"an overlapping window of {self.overlap_window} around a window of {self.window_size} cannot be "
                "centered; it must be larger by an even number"
            )
        for heads in self.num_heads:
            if self.embed_dim % heads:
                raise ValueError(f"{self.embed_dim} channels cannot be shared by {heads} heads")
        if self.resi_connection not in ("1conv", "identity"):
            raise ValueError(f"HAT knows the residual connections 1conv and identity, not {self.resi_connection!r}")

    @property
    def shift(self) -> int:
        return self.window_size // 2 if self.shifted else 0


# --- attention ---------------------------------------------------------------------------------------------------

BAND_PIXELS = 4096  # whose queries, keys and values are computed and used on a CPU before the next


def window_bias_index(window: int) -> Tensor:
    """Row of the bias table for each query and key of a window; (L, L) with L = window²."""
    at = torch.arange(window)
    d = at[:, None] - at[None, :] + window - 1  # per axis: query - key, from 0
    return _pair_index(d, 2 * window - 1)


def overlap_bias_index(window: int, overlap_window: int) -> Tensor:
    """Row of the bias table for each query of a window and key of the window around it; (window², overlap_window²).

    The official index runs below zero and wraps around the table, hence the remainder.
    """
    d = torch.arange(overlap_window)[None, :] - torch.arange(window)[:, None] + window - overlap_window + 1
    side = window + overlap_window - 1
    return _pair_index(d, side) % side**2


def _pair_index(d: Tensor, side: int) -> Tensor:
    """Two-dimensional table rows from the one-dimensional distances d (queries, keys) of one axis."""
    rows = d[:, None, :, None] * side + d[None, :, None, :]
    return rows.reshape(d.shape[0] ** 2, d.shape[1] ** 2)


def position_bias(table: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
    """(1, heads, L, L') from a (rows, heads) table."""
    bias = table.to(dtype)[index.to(table.device).reshape(-1)]
    return bias.T.reshape(1, table.shape[1], *index.shape).contiguous()


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """softmax(scale q kᵀ + bias) v, fused; q (B, heads, L, D), k and v (B, heads, L', D) -> (B, L, heads D)."""
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return out.transpose(1, 2).flatten(2)


def kernel_head_dim(head_dim: int, device: torch.device) -> int:
    """The head dimension that fused kernels take: a multiple of 8 on an accelerator (HAT's 30 becomes 32)."""
    return head_dim if device.type == "cpu" else round_up(head_dim, 8)


def pad_heads(weight: Tensor, heads: int, padded_dim: int) -> Tensor:
    """Append zeros to every head of a projection's output; (n heads d, ...) -> (n heads padded_dim, ...)."""
    by_head = weight.unflatten(0, (-1, heads, weight.shape[0] // (3 * heads)))
    padding = [0, 0] * (by_head.dim() - 3) + [0, padded_dim - by_head.shape[2]]
    return F.pad(by_head, padding).flatten(0, 2)


class Heads(nn.Module):
    """What window attention and overlapping cross-attention share: projections into heads and out of them."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, qk_scale: float | None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.constants = Constants()

    def _padded_projections(self, dim: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Weights for `dim` channels a head: zeros where the checkpoint has fewer, so that results do not change."""
        qkv = pad_heads(self.qkv.weight, self.num_heads, dim)
        bias = None if self.qkv.bias is None else pad_heads(self.qkv.bias, self.num_heads, dim)
        by_head = self.proj.weight.unflatten(1, (self.num_heads, -1))
        proj = F.pad(by_head, [0, dim - by_head.shape[2]]).flatten(1)
        return qkv, bias, proj

    def projections(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """The weight and bias of q, k, v and the weight of the output projection, for the kernel's head dimension."""
        head_dim = self.proj.weight.shape[1] // self.num_heads
        dim = kernel_head_dim(head_dim, self.qkv.weight.device)
        if dim == head_dim:
            return self.qkv.weight, self.qkv.bias, self.proj.weight
        sources = tuple(p for p in (self.qkv.weight, self.qkv.bias, self.proj.weight) if p is not None)
        return self.constants.get(("projections", dim), sources, lambda: self._padded_projections(dim))


class WindowAttention(Heads):
    """Window self-attention (W-MSA) over plain or shifted windows, added to a residual."""

    def __init__(self, c: HATConfig, num_heads: int) -> None:
        super().__init__(c.embed_dim, num_heads, c.qkv_bias, c.qk_scale)
        self.window_size = c.window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * c.window_size - 1) ** 2, num_heads))

    def bias(self, dtype: torch.dtype) -> Tensor:
        table = self.relative_position_bias_table
        return self.constants.get(
            ("bias", dtype), (table,), lambda: position_bias(table, window_bias_index(self.window_size), dtype)
        )

    def add_to(self, residual: Tensor, n: Tensor, shift: int, start: int, height: int) -> Tensor:
        """residual + W-MSA(n), both (B, h, W, C); writes to `residual`.

        They are rows `start` to `start + h` of an image `height` rows high. A shifted grid is not rolled: windows
        that would wrap around a border are cut there, which is what their mask of -100 between both parts comes to.
        """
        if kernel.can_run(n, *self.parameters()):
            for top, bottom, rows in window_spans(start, start + n.shape[1], height, self.window_size, shift):
                columns = list(window_spans(0, n.shape[2], n.shape[2], self.window_size, shift))
                for band in bands(top - start, bottom - start, rows.stop - rows.start, n.shape[2]):
                    residual[:, band] += self._attend_fused(n[:, band], rows, columns)
            return residual
        residual += autotune.best(
            "window attention",
            (n.shape[-1], self.num_heads, self.window_size, shift > 0),
            lambda: self._attend(n, shift, start, height),
            lambda: self._attend_on_cuda(n, shift, start),
            (n, *self.parameters()),
            tf32=autotune.tf32_products(),
        )
        return residual

    def bias_of(self, rows: slice, columns: slice) -> Tensor:
        """The bias between the pixels of a window that a border leaves; (1, heads, L, L)."""
        w, whole = self.window_size, self.bias(self.qkv.weight.dtype)
        if rows == columns == slice(0, w):
            return whole
        by_axis = whole.unflatten(3, (w, -1)).unflatten(2, (w, -1))
        return by_axis[:, :, rows, columns, rows, columns].flatten(4, 5).flatten(2, 3)

    def _attend_fused(self, n: Tensor, rows: slice, columns: list[tuple[int, int, slice]]) -> Tensor:
        """The same for a band of windows of all columns, (B, h, W, C), by one kernel and without copies of windows."""
        q, k, v = linear(n, self.qkv.weight, self.qkv.bias).chunk(3, dim=-1)
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        for left, right, strip in columns:
            bias = self.constants.get(
                ("kernel's bias", rows.start, rows.stop, strip.start, strip.stop),
                (self.relative_position_bias_table, self.qkv.weight),
                lambda strip=strip: kernel.pack_bias(self.bias_of(rows, strip)),  # type: ignore[misc]
            )
            window = (rows.stop - rows.start, strip.stop - strip.start)
            across = slice(left, right)
            kernel.window_attention(
                q[:, :, across], k[:, :, across], v[:, :, across], out=out[:, :, across],
                heads=self.num_heads, window=window, key_window=window, bias=bias, scale=self.scale,
            )  # fmt: skip
        return linear(out, self.proj.weight, self.proj.bias)

    def _attend_on_cuda(self, n: Tensor, shift: int, start: int) -> Tensor:
        """The same for all windows of a strip, (B, h, W, C), by one kernel: windows that are cut lie partly outside."""
        from ..kernels.cuda import attention as cuda

        qkv_weight, qkv_bias, proj_weight = self.projections()
        q, k, v = linear(n, qkv_weight, qkv_bias).chunk(3, dim=-1)
        w = self.window_size
        first = shift - w if shift and not start else 0, shift - w if shift else 0
        out = cuda.window_attention(
            q, k, v, heads=self.num_heads, window=(w, w), key_window=(w, w), bias=self.bias(proj_weight.dtype),
            scale=self.scale, precision=autotune.precision_of_products(), origin=first, key_origin=first,
        )  # fmt: skip
        return linear(out, proj_weight, self.proj.bias)

    def _attend(self, n: Tensor, shift: int, start: int, height: int) -> Tensor:
        """The same by PyTorch's attention, of windows that are cut out."""
        out = torch.empty(n.shape, dtype=self.proj.weight.dtype, device=n.device)
        for top, bottom, rows in window_spans(start, start + n.shape[1], height, self.window_size, shift):
            for left, right, strip in window_spans(0, n.shape[2], n.shape[2], self.window_size, shift):
                at = (slice(None), slice(top - start, bottom - start), slice(left, right))
                window = (rows.stop - rows.start, strip.stop - strip.start)
                grid = grid_of_windows(out[at], window)
                between_steps = self._attend_windows(windows_of(n[at], window), self.bias_of(rows, strip))
                grid.copy_(grid_from_windows(between_steps, grid))
        return out

    def _attend_windows(self, x: Tensor, bias: Tensor) -> Tensor:
        """(windows, L, C) -> the same, between_steps."""
        h = self.num_heads
        qkv_weight, qkv_bias, proj_weight = self.projections()
        out = torch.empty(x.shape, dtype=proj_weight.dtype, device=x.device)
        for i in chunks(len(x), x.device):
            q, k, v = linear(x[i], qkv_weight, qkv_bias).unflatten(-1, (3, h, -1)).permute(2, 0, 3, 1, 4)
            out[i] = linear(attention(q, k, v, bias, self.scale), proj_weight, self.proj.bias)
        return out


def window_spans(start: int, stop: int, size: int, window: int, shift: int) -> Iterator[tuple[int, int, slice]]:
    """The runs of windows of one kind along an axis of `size`, from `start` to `stop`, which lie on the shifted grid.

    (start, stop, which strip of a window they are): all of it, or at the ends what a shifted grid leaves of one.
    """
    if shift == 0:
        yield start, stop, slice(0, window)
        return
    if start == 0:
        yield 0, shift, slice(window - shift, window)
    inner = max(start, shift), min(stop, size - window + shift)
    if inner[0] < inner[1]:
        yield *inner, slice(0, window)
    if stop == size:
        yield size - window + shift, size, slice(0, window - shift)


def bands(start: int, stop: int, window: int, width: int) -> Iterator[slice]:
    """Whole rows of windows, few enough that what attention reads and leaves stays in cache."""
    step = max(BAND_PIXELS // (window * width), 1) * window
    for top in range(start, stop, step):
        yield slice(top, min(top + step, stop))


def chunks(windows: int, device: torch.device) -> Iterator[slice]:
    """Slices of a batch of windows. On a CPU few enough that what attention leaves behind stays in cache."""
    step = 32 if device.type == "cpu" else max(windows, 1)
    for start in range(0, windows, step):
        yield slice(start, min(start + step, windows))


# --- blocks ------------------------------------------------------------------------------------------------------


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.constants = Constants()

    def add_to(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + MLP(norm(x)); (B, H, W, C) fp32."""
        given = mlp.Layers(self.fc1, self.fc2, pre_norm=norm)
        if mlp.can_run(given):
            weights = self.constants.get("kernel", given.weights(), lambda: mlp.pack_weights(given))
            y = BandKernel(weights, x.shape[1])(x)
            assert y is not None
            return y
        n = layer_norm(x, norm, dtype=self.fc1.weight.dtype)
        return x + linear(F.gelu(linear(n, self.fc1.weight, self.fc1.bias)), self.fc2.weight, self.fc2.bias)


class ChannelGate(nn.Module):
    """sigmoid(W₂ ReLU(W₁ mean)), a factor for each channel."""

    def __init__(self, dim: int, squeeze_dim: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, squeeze_dim, 1), nn.ReLU(), nn.Conv2d(squeeze_dim, dim, 1)
        )

    def forward(self, mean: Tensor) -> Tensor:
        """(B, 1, 1, C) -> the same."""
        _, squeeze, _, excite = self.attention
        return torch.sigmoid(layers.conv2d(F.relu(layers.conv2d(mean, squeeze)), excite).float())


class ChannelAttention(nn.Module):
    """CAB in two sweeps over the image, because its gate comes from a mean over the whole of it.

    The mean of what the second convolution gives follows from sums over what it is given. So the first sweep keeps the
    narrow features between both convolutions, the second computes the wide ones where they are used.
    """

    def __init__(self, dim: int, compress_dim: int, squeeze_dim: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(dim, compress_dim, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(compress_dim, dim, 3, padding=1),
            ChannelGate(dim, squeeze_dim),
        )

    def narrow(self, n: Strips) -> Strips:
        """The features between both convolutions."""
        return conv2d(n, self.cab[0]).map(F.gelu)

    def gate(self, narrow: Tensor) -> Tensor:
        """What to scale the features with; (B, H, W, C') of the whole image -> (B, 1, 1, C)."""
        wide = self.cab[2]
        assert isinstance(wide, nn.Conv2d)
        return self.cab[3](mean_of_convolution(narrow, wide))

    def features(self, narrow: Tensor, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the features, fp32."""
        return conv2d_rows(narrow, self.cab[2], start, stop).float()


def mean_of_convolution(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The mean over all pixels of a 3x3 convolution padded with zeros, without computing it; (B, 1, 1, C) fp32.

    Each of its nine taps sums the image but for the row and the column that it never reaches.
    """
    total, rows, columns = x.sum((1, 2), dtype=torch.float32), both_ends(x, 1).float(), both_ends(x, 2).float()
    row_sums, column_sums, corners = rows.sum(2), columns.sum(1), both_ends(rows, 2)
    sums = total[:, None, None].repeat(1, 3, 3, 1)
    sums[:, 0::2] -= row_sums[:, :, None]  # the upper taps miss the last row, the lower ones the first
    sums[:, :, 0::2] -= column_sums[:, None]
    sums[:, 0::2, 0::2] += corners
    mean = torch.einsum("byxi,oiyx->bo", sums, conv.weight.float()) / (x.shape[1] * x.shape[2])
    return (mean if conv.bias is None else mean + conv.bias.float())[:, None, None]


def both_ends(x: Tensor, dim: int) -> Tensor:
    """The last and the first along `dim`. A list of indices would have to be sent to an accelerator, which waits."""
    return torch.cat([x.narrow(dim, x.shape[dim] - 1, 1), x.narrow(dim, 0, 1)], dim)


class HAB(nn.Module):
    """Hybrid attention block; (B, H, W, C) -> (B, H, W, C) with sides that are multiples of the window; in fp32."""

    def __init__(self, c: HATConfig, num_heads: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.conv_scale = c.conv_scale
        self.norm1 = nn.LayerNorm(c.embed_dim)
        self.attn = WindowAttention(c, num_heads)
        self.conv_block = ChannelAttention(c.embed_dim, c.compress_dim, c.squeeze_dim)
        self.norm2 = nn.LayerNorm(c.embed_dim)
        self.mlp = Mlp(c.embed_dim, c.mlp_dim)

    def forward(self, x: Tensor, plan: StripPlan, into: Tensor | None = None) -> Tensor:
        """into: see `gather`; may be `x`."""
        height = x.shape[1]
        kept: list[Tensor] = []  # of an image of one strip, its normalized features

        def normalized(strip: Tensor) -> Tensor:
            n = layer_norm(strip, self.norm1, dtype=self.attn.qkv.weight.dtype)
            if strip.shape[1] == height:
                kept.append(n)
            return n

        narrow = gather(self.conv_block.narrow(split_rows(x, strip_bounds(height, plan.rows)).map(normalized)), plan)
        gate = self.conv_block.gate(narrow)

        def strip(start: int, stop: int) -> Tensor:
            strip = x[:, start:stop]
            n = kept.pop() if kept else normalized(strip)
            y = torch.addcmul(strip, self.conv_block.features(narrow, start, stop), gate, value=self.conv_scale)
            y = self.attn.add_to(y, n, self.shift, start, height)
            del n
            return self.mlp.add_to(y, self.norm2)

        bounds = strip_bounds(height, plan.rows, self.shift, self.attn.window_size)
        return gather(Strips(height, starmap(strip, pairwise(bounds))), plan, into)


class OCAB(Heads):
    """Overlapping cross-attention block: a window asks, a larger window around it answers.

    Beyond the image keys and values are zero, and take strip in the softmax: the zeros are put in after the
    projection, as the authors do, so that such a key's logit is its position bias alone.
    """

    def __init__(self, c: HATConfig, num_heads: int) -> None:
        super().__init__(c.embed_dim, num_heads, c.qkv_bias, c.qk_scale)
        self.window_size, self.overlap_window = c.window_size, c.overlap_window
        self.halo = (c.overlap_window - c.window_size) // 2
        rows = (c.window_size + c.overlap_window - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))
        self.norm1 = nn.LayerNorm(c.embed_dim)
        self.norm2 = nn.LayerNorm(c.embed_dim)
        self.mlp = Mlp(c.embed_dim, c.oca_mlp_dim)

    def bias(self, dtype: torch.dtype) -> Tensor:
        table, index = self.relative_position_bias_table, (self.window_size, self.overlap_window)
        return self.constants.get(
            ("bias", dtype), (table,), lambda: position_bias(table, overlap_bias_index(*index), dtype)
        )

    def forward(self, x: Tensor, plan: StripPlan) -> Strips:
        """(B, H, W, C) with sides that are multiples of the window."""
        height, halo = x.shape[1], self.halo
        qkv_weight, qkv_bias, _ = self.projections()
        third = qkv_weight.shape[0] // 3
        rows = torch.empty(0)  # projected, up to `done`: from `halo` above a strip to `halo` below it
        done = 0

        def strip(start: int, stop: int) -> Tensor:
            nonlocal rows, done
            below = min(stop + halo, height)
            if done < below:
                n = layer_norm(x[:, done:below], self.norm1, dtype=qkv_weight.dtype)
                more = linear(n, qkv_weight, qkv_bias)
                rows = torch.cat([rows, more], 1) if done else more
                done = below
                del n, more
            first = below - rows.shape[1]  # the row of the image with which `rows` begins
            q, kv = rows.split((third, 2 * third), dim=-1)
            y = x[:, start:stop] + self._attended(q[:, start - first : stop - first], kv, start - first)
            rows = rows[:, max(stop - halo - first, 0) :].clone() if stop < height else torch.empty(0)
            del q, kv
            return self.mlp.add_to(y, self.norm2)

        bounds = strip_bounds(height, plan.rows, multiple=self.window_size)
        return Strips(height, starmap(strip, pairwise(bounds)))

    def _attended(self, q: Tensor, kv: Tensor, above: int) -> Tensor:
        """The attention, projected; q (B, h, W, C), kv (B, above + h + below, W, 2 C) within the image."""
        if not kernel.can_run(q, kv, *self.parameters()):
            return autotune.best(
                "overlapping attention",
                (q.shape[-1], self.num_heads, self.window_size, self.overlap_window),
                lambda: self._attended_by_windows(q, self._with_zeros(kv, above, q.shape[1])),
                lambda: self._attended_on_cuda(q, kv, above),
                (q, kv, *self.parameters()),
                tf32=autotune.tf32_products(),
            )
        w, o = self.window_size, self.overlap_window
        _, _, proj_weight = self.projections()
        bias = self.constants.get(
            "kernel's bias",
            (self.relative_position_bias_table, proj_weight),
            lambda: kernel.pack_bias(self.bias(proj_weight.dtype)),
        )
        k, v = self._with_zeros(kv, above, q.shape[1]).chunk(2, dim=-1)
        out = torch.empty(q.shape, dtype=q.dtype)
        kernel.window_attention(
            q, k, v, out=out, heads=self.num_heads, window=(w, w), key_window=(o, o), bias=bias, scale=self.scale
        )
        return linear(out, proj_weight, self.proj.bias)

    def _with_zeros(self, kv: Tensor, above: int, rows: int) -> Tensor:
        """Keys and values of `rows` rows, with zeros beyond the image; (B, rows + 2 halo, W + 2 halo, 2 C)."""
        halo = self.halo
        return F.pad(kv, (0, 0, halo, halo, halo - above, above + rows + halo - kv.shape[1]))

    def _attended_on_cuda(self, q: Tensor, kv: Tensor, above: int) -> Tensor:
        """The same by one kernel."""
        from ..kernels.cuda import attention as cuda

        w, o = self.window_size, self.overlap_window
        _, _, proj_weight = self.projections()
        k, v = kv.chunk(2, dim=-1)
        out = cuda.window_attention(
            q, k, v, heads=self.num_heads, window=(w, w), key_window=(o, o), bias=self.bias(proj_weight.dtype),
            scale=self.scale, precision=autotune.precision_of_products(), key_origin=(above - self.halo, -self.halo),
            zero_padding=True,
        )  # fmt: skip
        return linear(out, proj_weight, self.proj.bias)

    def _attended_by_windows(self, q: Tensor, kv: Tensor) -> Tensor:
        """The same by PyTorch's attention, of windows that are cut out; kv with its zeros."""
        w, o = self.window_size, self.overlap_window
        _, _, proj_weight = self.projections()
        bias = self.bias(proj_weight.dtype)
        y = torch.empty((*q.shape[:3], proj_weight.shape[0]), dtype=proj_weight.dtype, device=q.device)
        rows = q.shape[1] // w
        step = 1 if q.device.type == "cpu" else rows  # one row of windows at a time stays in cache
        for row in range(0, rows, step):
            strip = y[:, row * w : (row + step) * w]
            queries = windows_of(q[:, row * w : (row + step) * w], (w, w)).unflatten(-1, (self.num_heads, -1))
            around = (
                kv[:, row * w : (row + step) * w + 2 * self.halo].unfold(1, o, w).unfold(2, o, w)
            )  # (B,nh,nw,2C,o,o)
            around = around.permute(0, 1, 2, 4, 5, 3).reshape(-1, o * o, kv.shape[-1])
            keys, values = around.unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
            out = attention(queries.transpose(1, 2), keys, values, bias, self.scale)
            out = linear(out, proj_weight, self.proj.bias)
            grid = grid_of_windows(strip, (w, w))
            grid.copy_(grid_from_windows(out, grid))
        return y


class ResidualGroup(nn.Module):
    """The blocks of a group, then its overlapping cross-attention."""

    def __init__(self, c: HATConfig, depth: int, num_heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HAB(c, num_heads, c.shift if i % 2 else 0) for i in range(depth))
        self.overlap_attn = OCAB(c, num_heads)

    def forward(self, x: Tensor, plan: StripPlan) -> Strips:
        """(B, H, W, C), which stays as it is."""
        y = x
        for block in self.blocks:
            y = block(y, plan, into=None if y is x else y)
        return self.overlap_attn(y, plan)


class RHAG(nn.Module):
    """Residual hybrid attention group: x + conv(group(x))."""

    def __init__(self, c: HATConfig, depth: int, num_heads: int) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(c, depth, num_heads)
        self.conv = residual_conv(c)

    def forward(self, x: Tensor, plan: StripPlan) -> Tensor:
        """May write over `x`."""
        y = apply_conv(self.residual_group(x, plan), self.conv)
        return gather(y + split_rows(x, strip_bounds(x.shape[1], plan.rows)), plan, into=x)


def residual_conv(c: HATConfig) -> nn.Conv2d | nn.Identity:
    return nn.Conv2d(c.embed_dim, c.embed_dim, 3, padding=1) if c.resi_connection == "1conv" else nn.Identity()


def apply_conv(x: Strips, conv: nn.Conv2d | nn.Identity) -> Strips:
    return conv2d(x, conv) if isinstance(conv, nn.Conv2d) else x


class PatchEmbed(nn.Module):
    """Only the optional normalization of what was once a patch embedding."""

    def __init__(self, c: HATConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(c.embed_dim) if c.patch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.norm is None else layer_norm(x, self.norm)


class HAT(Network):
    """The whole network.

    Takes images of any size from 1x1 and mirrors them at their lower and right edge up to whole windows. In strips,
    two maps of features are there as a whole, the narrow features of one block, and the rest a strip at a time.
    """

    def __init__(self, config: HATConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv_first = nn.Conv2d(c.in_channels, c.embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(c)
        self.layers = nn.ModuleList(RHAG(c, *group) for group in zip(c.depths, c.num_heads, strict=True))
        self.norm = nn.LayerNorm(c.embed_dim)
        self.conv_after_body = residual_conv(c)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(c.embed_dim, c.num_feat, 3, padding=1), nn.LeakyReLU())
        self.upsample = Upsample(c.scale, c.num_feat)
        self.conv_last = nn.Conv2d(c.num_feat, c.in_channels, 3, padding=1)
        self.mean = c.mean or default_mean(c.in_channels)
        self.constants = Constants()

    def gathers_windows(self, device: torch.device) -> bool:
        """Whether the keys and values of overlapping windows are copied together there; the kernel reads the map."""
        return device.type != "cpu" or not kernel.can_run()

    def work(self, height: int) -> int:
        sweeps = 2 + sum(2 * depth + 1 for depth in self.config.depths)
        return sweeps * round_up(height, self.config.window_size)

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        c = self.config
        height, width = image.shape[-2:]
        mean = self.constants.get(("mean", image.device), (), lambda: torch.tensor(self.mean, device=image.device))
        pixels = (to_features(image) - mean) * c.img_range
        pixels = reflect_to(pixels, round_up(height, c.window_size), round_up(width, c.window_size))
        bounds = strip_bounds(pixels.shape[1], plan.rows, multiple=c.window_size)

        def shallow() -> Strips:  # cheaper to compute again than to keep
            return conv2d(split_rows(pixels, bounds), self.conv_first).map(torch.Tensor.float)

        x = gather(shallow().map(self.patch_embed), plan)
        for group in self.layers:
            x = group(x, plan)
        deep = apply_conv(
            plan.reported(split_rows(x, bounds)).map(lambda strip: layer_norm(strip, self.norm)), self.conv_after_body
        )
        larger = self.reconstruct(deep + shallow())
        return crop(larger, height * c.scale).map(lambda strip: strip[:, :, : width * c.scale] / c.img_range + mean)

    def reconstruct(self, x: Strips) -> Strips:
        """(B, H, W, C) -> (B, sH, sW, in_channels), fp32."""
        x = conv2d(x, self.conv_before_upsample[0]).map(lambda strip: F.leaky_relu(strip, 0.01))
        return conv2d(self.upsample(x), self.conv_last).map(torch.Tensor.float)
