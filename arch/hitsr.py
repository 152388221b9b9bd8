"""HiT-SR: hierarchical transformers with growing windows and spatial-channel correlation of linear cost.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024. Three networks came
of it: HiT-SIR (of SwinIR-light), HiT-SNG (of SwinIR-NG, windows know their neighbors by n-grams) and HiT-SRF (of
SRFormer-light, a depthwise convolution in the MLP).

A block correlates instead of attending; there is no softmax. With queries q and values v of a window of L pixels, and
v' the values of its L' patches of r x r pixels (L' is the base window, whatever the window):

    spatial, per head:  x_s = (q v'ᵀ / d + P) v'        channel, all heads at once:  x_c = v (vᵀ q / L)

P, the position bias, comes from a small MLP over relative positions, averaged over each patch. It does not depend on
the image: here it is built once, by a box filter over the MLP's values on the (2h-1) x (2w-1) grid. And since nothing
lies between the products, q (v'ᵀ v') needs d x d numbers where q v'ᵀ would need a map of L x L'. What both correlations
do to a window's pixels are small matrices, of which PyTorch's operations make one with the projection behind them.

Not to be seen in the weights: `img_range`, `mean`, and, for HiT-SIR and HiT-SRF, the base window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import autotune
from ..kernels.cpu import bands, correlation, dual_features, mlp, ngrams
from ..kernels.tensors import weights_of
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


@dataclass(frozen=True)
class HiTSRConfig:
    """Hyper-parameters; the defaults are the published HiT-SRF x4. `variant` is "SIR", "SNG" or "SRF".

    `window_ratios[j] * base_window` is the window of the j-th block of every layer. `upsampler` is
    "pixelshuffledirect", "pixelshuffle", "nearest+conv" (x4) or "" (x1, a residual on the image).
    `mean=None` means the family's own: DIV2K's for RGB, else 0.
    """

    variant: str = "SRF"
    scale: int = 4
    in_channels: int = 3
    embed_dim: int = 60
    depths: tuple[int, ...] = (6,) * 4
    num_heads: tuple[int, ...] = (6,) * 4
    base_window: tuple[int, int] = (8, 8)
    window_ratios: tuple[float, ...] = (0.5, 1, 2, 4, 6, 8)
    mlp_dim: int = 120
    num_feat: int = 64
    patch_norm: bool = True
    upsampler: str = "pixelshuffledirect"
    resi_connection: str = "1conv"
    img_range: float = 1.0
    mean: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.variant not in ("SIR", "SNG", "SRF"):
            raise ValueError(f"HiT-SR has the variants SIR, SNG and SRF, not {self.variant!r}")
        if self.upsampler not in ("pixelshuffledirect", "pixelshuffle", "nearest+conv", ""):
            raise ValueError(f"HiT-SR has no head called {self.upsampler!r}")
        if self.upsampler == "nearest+conv" and self.scale != 4:
            raise ValueError(f"the head nearest+conv enlarges by 4, not by {self.scale}")
        if self.resi_connection not in ("1conv", "3conv"):
            raise ValueError(f"HiT-SR knows the residual connections 1conv and 3conv, not {self.resi_connection!r}")
        if max(self.depths) > len(self.window_ratios):
            raise ValueError(f"{max(self.depths)} blocks in a layer need as many window ratios: {self.window_ratios}")
        for heads in self.num_heads:
            if self.embed_dim % (2 * heads):
                raise ValueError(f"{self.embed_dim} channels cannot be shared by queries and values of {heads} heads")
        for block in range(max(self.depths)):
            window, base = self.window(block), self.base_window
            if any(w < 1 or (w > b and w % b) for w, b in zip(window, base, strict=True)):
                raise ValueError(f"a window of {window} is neither smaller than nor divisible by the base {base}")

    def window(self, block: int) -> tuple[int, int]:
        """Height and width of the window of the given block of a layer."""
        ratio = self.window_ratios[block]
        return int(self.base_window[0] * ratio), int(self.base_window[1] * ratio)

    def patch(self, block: int) -> tuple[int, int]:
        """Height and width of the patches that the spatial correlation sums up."""
        (h, w), (bh, bw) = self.window(block), self.base_window
        return h // min(h, bh), w // min(w, bw)


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
        """(B, H, W, C) -> (B, height, width, C), as of the image's features mirrored to that size.

        multiple: of which the rows of each strip are one; the height must be. What happens pixel by pixel happens
        before the mirroring, on fewer pixels.
        """
        first, _, middle, _, last = self.conv
        assert isinstance(first, nn.Conv2d)
        assert isinstance(middle, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        layers = dual_features.Layers(first, middle, last, self.linear)
        if dual_features.can_run(layers):
            weights = self.constants.get("kernel", layers.weights(), lambda: dual_features.pack_weights(layers))
            return reflect_pad(x, height).filter_map(bands.BandKernel(weights, height, width, multiple))
        weight, bias = self.constants.get(
            "both branches",
            (self.linear.weight, self.linear.bias, first.weight, first.bias),  # type: ignore[arg-type]
            lambda: (
                torch.cat([self.linear.weight, first.weight])[:, :, 0, 0],
                torch.cat([self.linear.bias, first.bias]),  # type: ignore[list-item]
            ),
        )
        channels = self.linear.out_channels
        x = reflect_pad(x.map(lambda strip: linear(strip, weight, bias)), height)
        x = x.map(lambda strip: reflect_to(strip, strip.shape[1], width))
        t = conv2d(x.map(lambda strip: F.leaky_relu(strip[..., channels:], 0.2)), middle)

        def joined(strip: Tensor, of_x: Tensor) -> Tensor:
            return linear(F.leaky_relu(strip, 0.2), last.weight[:, :, 0, 0], last.bias) * of_x[..., :channels]

        return regroup(zip_with(joined, t, x), multiple)


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
        x = _fp32_linear(positions, self.pos_proj)
        for norm, _, project in (self.pos1, self.pos2, self.pos3):
            assert isinstance(norm, nn.LayerNorm)
            assert isinstance(project, nn.Linear)
            x = _fp32_linear(F.relu(layer_norm(x, norm)), project)
        return x


def _fp32_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(x, layer.weight.float(), layer.bias.float())


class Correlation(nn.Module):
    """Spatial-channel correlation (SCC) over one size of window; (B, H, W, C) -> (B, H, W, C).

    fp16 overflows in these sums over up to 4096 pixels (the authors' network turns black), so everything between the
    projections is computed in fp32.
    """

    def __init__(self, c: HiTSRConfig, num_heads: int, block: int) -> None:
        super().__init__()
        self.window, self.patch, self.num_heads = c.window(block), c.patch(block), num_heads
        self.qv = DualFeatureExtraction(c.embed_dim)
        self.proj = nn.Linear(c.embed_dim, c.embed_dim)
        self.spatial_linear = nn.Linear(self.patch[0] * self.patch[1], 1)
        self.pos = PositionMLP(c.embed_dim // 4 // 4, num_heads)
        self.ngram_window_partition = NGramWindows(c, num_heads, self.window) if c.variant == "SNG" else None
        self.constants = Constants()

    @property
    def padding_multiple(self) -> tuple[int, int]:
        """What the sides of the feature map are padded to a multiple of: pairs of windows where n-grams need them."""
        pair = 1 if self.ngram_window_partition is None else 2
        return self.window[0] * pair, self.window[1] * pair

    def forward(self, x: Strips, width: int, norm: nn.LayerNorm) -> Strips:
        """x + norm(SCC(x)); `width` is that of `x`."""
        down, across = self.padding_multiple
        qv = self.qv(x, round_up(x.height, down), round_up(width, across), self.window[0]).map(torch.Tensor.float)
        windows = correlation.Windows(self.window, self.patch, self.proj.out_features, self.num_heads)
        layers = correlation.Layers(self.spatial_linear, self.proj, norm)
        if correlation.can_run(windows, layers):
            weights = self.constants.get("kernel", layers.weights(), lambda: correlation.pack_weights(windows, layers))
            bias = self.position_table if correlation.reads_table(windows) else self.position_bias
            return zip_with_views(
                lambda strip, views: correlation.window_correlation(strip, views, bias(), weights), self.heard(qv), x
            )
        if self.ngram_window_partition is None:
            y = qv.map(lambda strip: self.correlated(strip, None))
        else:
            y = self.ngram_window_partition.ngram_context(qv, self.correlated)
        y = crop(y, x.height).map(lambda strip: strip[:, :, :width] + self.proj.bias.float())
        return zip_with(partial(added, norm=norm), y, x)

    def heard(self, qv: Strips) -> Strips:
        """Whole windows with what they hear from others added to them."""
        if self.ngram_window_partition is None:
            return qv

        def add(strip: Tensor, context: Tensor) -> Tensor:
            grid = grid_of_windows(strip, self.window)
            grid.add_(context.view(*grid.shape[:2], 1, grid.shape[3], 1, -1))  # of `strip`, which nobody else reads
            return strip

        return self.ngram_window_partition.ngram_context(qv, add)

    def correlated(self, qv: Tensor, context: Tensor | None) -> Tensor:
        """Whole windows, (B, h, W, C), each with what it hears from others, (B h' W', C) -> (B, h, W, C)."""

        def plain() -> Tensor:
            return self._by_matrices(qv, context)

        def fused() -> Tensor:
            from ..kernels.cuda import correlation as cuda

            return cuda.window_correlation(
                qv, context, window=self.window, patch=self.patch, heads=self.num_heads, proj=self.proj.weight,
                patch_weight=self.spatial_linear.weight, patch_bias=self.spatial_linear.bias,
                position_bias=self.position_bias(), precision=autotune.precision_of_products(),
            )  # fmt: skip

        kind, given = (qv.shape[-1], self.num_heads, self.window, self.patch), (qv, context, *self.parameters())
        return autotune.best("correlation", kind, plain, fused, given, tf32=autotune.tf32_products())

    def _by_matrices(self, qv: Tensor, context: Tensor | None) -> Tensor:
        """The same by PyTorch's operations."""
        grid = grid_of_windows(qv, self.window)
        windows = windows_of(qv, self.window)  # (N, L, C)
        if context is not None:
            windows = windows + context[:, None]
        patches = self.sum_patches(windows)  # v', (N, L', C/2)
        proj = self.proj.weight.float()
        y = torch.matmul(self.position_term(patches).transpose(1, 2), proj[:, : qv.shape[-1] // 2].T)
        y = torch.baddbmm(y, windows, self.window_matrices(windows, patches, proj))
        return grid_from_windows(y, grid).reshape(qv.shape)

    def window_matrices(self, windows: Tensor, patches: Tensor, proj: Tensor) -> Tensor:
        """Each window's matrix that takes [q, v] through both correlations and the projection; (N, C, C)."""
        n, length, dim = windows.shape
        heads, half = self.num_heads, dim // 2
        q, v = windows.split(half, dim=-1)
        by_head = patches.unflatten(-1, (heads, -1)).transpose(1, 2)  # (N, heads, L', d)
        gram = torch.matmul(by_head.transpose(2, 3), by_head) / by_head.shape[-1]  # v'ᵀ v' / d
        spatial = torch.matmul(gram, proj[:, :half].T.reshape(heads, -1, dim)).reshape(n, half, dim)
        channel = torch.matmul(torch.bmm(v.transpose(1, 2), q / length), proj[:, half:].T)
        return torch.cat([spatial, channel], dim=1)

    def sum_patches(self, windows: Tensor) -> Tensor:
        """v', each patch of r x r pixels of the values as one weighted sum; (N, L, C) -> (N, L', C/2)."""
        (h, w), (rh, rw) = self.window, self.patch
        v = windows[..., windows.shape[-1] // 2 :]
        weight, bias = self.spatial_linear.weight.float(), self.spatial_linear.bias.float()
        if rh * rw == 1:
            return v * weight + bias
        kernel = weight.reshape(1, 1, rh, rw).expand(v.shape[-1], 1, rh, rw)
        rows = v.unflatten(1, (h, w)).permute(0, 3, 1, 2)
        out = F.conv2d(rows, kernel, bias.expand(v.shape[-1]), stride=(rh, rw), groups=v.shape[-1])
        return out.permute(0, 2, 3, 1).flatten(1, 2)

    def position_term(self, patches: Tensor) -> Tensor:
        """P v' for every window; (N, L', C/2) -> (N, C/2, L)."""
        n, _, half = patches.shape
        v = patches.unflatten(-1, (self.num_heads, -1)).permute(2, 0, 3, 1)  # (heads, N, d, L')
        out = torch.bmm(v.reshape(self.num_heads, -1, v.shape[-1]), self.position_bias())  # (heads, N d, L)
        return out.unflatten(1, (n, -1)).transpose(0, 1).reshape(n, half, -1)

    def position_table(self) -> Tensor:
        """The position bias by the distance of query and patch: (heads, 2h - rh, 2w - rw) fp32."""
        return self.constants.get("table", self.pos.weights(), self._filtered_table)

    def position_bias(self) -> Tensor:
        """P transposed: (heads, L', L) fp32."""
        (h, w), (rh, rw) = self.window, self.patch
        sources, table = self.pos.weights(), self.position_table()
        if self.num_heads * (h * w) ** 2 // (rh * rw) * 4 > LARGEST_KEPT_BIAS:
            return self._lay_out(table)
        return self.constants.get("bias", sources, lambda: self._lay_out(table))

    def _filtered_table(self) -> Tensor:
        """The position MLP on the grid of relative positions, averaged over a patch; (heads, 2h - rh, 2w - rw)."""
        (h, w), device = self.window, self.proj.weight.device
        rows = torch.arange(1 - h, h, device=device, dtype=torch.float32)
        columns = torch.arange(1 - w, w, device=device, dtype=torch.float32)
        positions = torch.cartesian_prod(rows, columns)
        table = self.pos(positions).T.reshape(1, self.num_heads, 2 * h - 1, 2 * w - 1)
        return F.avg_pool2d(table, self.patch, stride=1)[0].contiguous()

    def _lay_out(self, table: Tensor) -> Tensor:
        """Bias of query pixel i and key patch j is table[i - r j + h - r]: a strided view, patches backwards."""
        (h, w), (rh, rw) = self.window, self.patch
        head, row, column = table.stride()
        view = table.as_strided((table.shape[0], h // rh, w // rw, h, w), (head, rh * row, rw * column, row, column))
        return view.flip(1, 2).reshape(table.shape[0], -1, h * w)


# --- n-grams of windows (HiT-SNG) --------------------------------------------------------------------------------


class NGramAttention(nn.Module):
    """Attention among the four windows of a bigram, and their mean."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 4, D) -> (n, D)."""
        q, k, v = _fp32_linear(x, self.qkv).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias()[None])
        return _fp32_linear(out.mean(2).flatten(1), self.proj)

    def bias(self) -> Tensor:
        """(heads, 4, 4)"""
        at = torch.arange(2, device=self.relative_position_bias_table.device)
        d = at[:, None] - at[None, :] + 1
        index = (d[:, None, :, None] * 3 + d[None, :, None, :]).reshape(4, 4)
        return self.relative_position_bias_table.float()[index].permute(2, 0, 1)

    def of_grid(self, x: Tensor) -> Tensor:
        """(B, rows + 2, columns + 2, D), windows with their neighbors around the border -> (B, rows, columns, 2 D).

        Bigrams with the windows to the lower right, and with those to the upper left.
        """
        if ngrams.can_run(x, self.relative_position_bias_table):
            said = ngrams.bigrams(_fp32_linear(x, self.qkv), self.bias(), self.num_heads)
            return _fp32_linear(said, self.proj).flatten(3)
        return torch.cat([self._bigrams(x[:, 1:, 1:]), self._bigrams(x[:, :-1, :-1])], dim=-1)

    def _bigrams(self, x: Tensor) -> Tensor:
        """(B, rows + 1, columns + 1, D) -> (B, rows, columns, D)."""
        four = torch.stack([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], dim=3)
        return self(four.flatten(0, 2)).view(*four.shape[:3], -1)


class NGramContext(nn.Module):
    """What each window hears from its neighbors: windows as single features, bigrams in both directions."""

    def __init__(self, dim: int, num_heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.unigram_embed = nn.Conv2d(2, 1, window)
        self.ngram_attn = NGramAttention(dim // 2, num_heads)
        self.merge = nn.Conv2d(dim, dim, 1)

    def forward(self, windows: Strips, step: Callable[[Tensor, Tensor], Tensor]) -> Strips:
        """Apply `step` to strips of whole windows and the (windows, C) that they hear, the same for each pixel.

        The last windows of a strip wait for those below. What waits here is nobody else's, nor is what `step` gets.
        """
        below, seen = self.unigram_embed.kernel_size[0], 0
        strips = iter(windows)
        waiting: list[Tensor] = []  # windows; their unigrams are the last of `above`
        ready: deque[tuple[Tensor, Tensor]] = deque()
        above, known = torch.empty(0), torch.empty(0)

        def read() -> None:
            nonlocal seen, above, known
            strip = next(strips)
            seen += strip.shape[1]
            found = self._unigrams(strip)
            if waiting:
                ready.append((waiting.pop(), self._heard(above, known, found[:, :1])))
                above = known
            if seen == windows.height:  # at the lower border the window above is heard once more
                mirror = found[:, -2:-1] if found.shape[1] > 1 else above
                ready.append((strip, self._heard(above, found, mirror)))
            else:
                waiting.append(strip[:, -below:].clone())
                if found.shape[1] > 1:
                    ready.append((strip[:, :-below], self._heard(above, found[:, :-1], found[:, -1:])))
                    above = found[:, -2:-1]
                known = found[:, -1:]

        def following() -> Tensor:
            while not ready:
                read()
            return step(*ready.popleft())

        return Strips.pulled(windows.height, following)

    def _unigrams(self, strip: Tensor) -> Tensor:
        """(B, h, W, C) of whole windows -> (B, rows of windows, columns, C/2)."""
        height, width = self.unigram_embed.kernel_size
        assert self.unigram_embed.bias is not None
        if ngrams.can_run(strip, *weights_of(self.unigram_embed)):
            return ngrams.unigrams(strip, self.unigram_embed.weight, self.unigram_embed.bias)
        windows = windows_of(strip, (height, width))
        kernel = self.unigram_embed.weight.float().reshape(2, -1)
        pairs = torch.matmul(kernel, windows).unflatten(-1, (-1, 2))  # (N, 2, C/2, 2): kernel k on channel 2c + k
        unigrams = pairs[:, 0, :, 0] + pairs[:, 1, :, 1] + self.unigram_embed.bias.float()
        return unigrams.unflatten(0, (strip.shape[0], strip.shape[1] // height, strip.shape[2] // width))

    def _heard(self, above: Tensor, unigrams: Tensor, below: Tensor) -> Tensor:
        """For each of `unigrams`, (B, rows, columns, D), what its bigrams in both directions say; (B rows columns, C).

        above: the unigrams of the strip above, none at the upper border; below: the row of them below.
        """
        if not above.numel():  # there the window below is heard from both sides
            above = unigrams[:, 1:2] if unigrams.shape[1] > 1 else below
        both = torch.cat([above[:, -1:], unigrams, below], 1)
        both = torch.cat([both[:, :, 1:2], both, both[:, :, -2:-1]], 2)
        heard = self.ngram_attn.of_grid(both).flatten(0, 2)
        assert self.merge.bias is not None
        return F.linear(heard, self.merge.weight.float()[:, :, 0, 0], self.merge.bias.float())


class NGramWindows(nn.Module):
    """Holds the n-gram context under the name it has in checkpoints."""

    def __init__(self, c: HiTSRConfig, num_heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.ngram_context = NGramContext(c.embed_dim, num_heads, window)


# --- blocks ------------------------------------------------------------------------------------------------------


class DepthwiseConv(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Sequential(nn.Conv2d(dim, dim, 5, padding=2, groups=dim), nn.GELU())

    @property
    def conv(self) -> nn.Conv2d:
        conv = self.depthwise_conv[0]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def forward(self, x: Strips) -> Strips:
        return conv2d(x, self.conv).map(F.gelu)


class Mlp(nn.Module):
    """MLP; in HiT-SRF with a depthwise convolution of the hidden features added to them."""

    def __init__(self, dim: int, hidden: int, depthwise: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden) if depthwise else None
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Strips) -> Strips:
        h = x.map(lambda strip: F.gelu(linear(strip, self.fc1.weight, self.fc1.bias)))
        if self.dwconv is not None:
            h = self.dwconv(h) + h
        return h.map(lambda strip: linear(strip, self.fc2.weight, self.fc2.bias))


class HierarchicalBlock(nn.Module):
    """x + LN(SCC(x)), then x + LN(MLP(x)): the norms come after the branches. (B, H, W, C), the trunk in fp32."""

    def __init__(self, c: HiTSRConfig, num_heads: int, block: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.embed_dim)
        self.correlation = Correlation(c, num_heads, block)
        self.norm2 = nn.LayerNorm(c.embed_dim)
        self.mlp = Mlp(c.embed_dim, c.mlp_dim, depthwise=c.variant == "SRF")
        self.constants = Constants()

    def forward(self, x: Strips, width: int) -> Strips:
        x = self.correlation(x, width, self.norm1)
        around = self.mlp.dwconv
        layers = mlp.Layers(
            self.mlp.fc1, self.mlp.fc2, dwconv=None if around is None else around.conv, post_norm=self.norm2
        )
        if mlp.can_run(layers):
            weights = self.constants.get("mlp", layers.weights(), lambda: mlp.pack_weights(layers))
            return x.filter_map(bands.BandKernel(weights, x.height))
        return zip_with(partial(added, norm=self.norm2), self.mlp(x), x)


def added(branch: Tensor, x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """x + LN(branch)."""
    return layer_norm(branch, norm, add_after=x)


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
        self.conv = residual_conv(c)

    def forward(self, x: Strips, width: int) -> Strips:
        return apply_conv(self.residual_group(x, width), self.conv) + x


def residual_conv(c: HiTSRConfig) -> nn.Conv2d | nn.Sequential:
    if c.resi_connection == "1conv":
        return nn.Conv2d(c.embed_dim, c.embed_dim, 3, padding=1)
    narrow = c.embed_dim // 4
    return nn.Sequential(
        nn.Conv2d(c.embed_dim, narrow, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(narrow, narrow, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(narrow, c.embed_dim, 3, padding=1),
    )


def apply_conv(x: Strips, conv: nn.Conv2d | nn.Sequential) -> Strips:
    if isinstance(conv, nn.Conv2d):
        return conv2d(x, conv)
    first, _, middle, _, last = conv
    x = conv2d(x, first).map(lambda strip: F.leaky_relu(strip, 0.2))
    return conv2d(conv2d(x, middle).map(lambda strip: F.leaky_relu(strip, 0.2)), last)


class PatchEmbed(nn.Module):
    """Only the optional normalization of what was once a patch embedding."""

    def __init__(self, c: HiTSRConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(c.embed_dim) if c.patch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.norm is None else layer_norm(x, self.norm)


class HiTSR(Network):
    """The whole network, of any of the three variants.

    Each block mirrors its own features up to whole windows. In strips, each holds as many rows as its windows have.
    """

    def __init__(self, config: HiTSRConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv_first = nn.Conv2d(c.in_channels, c.embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(c)
        self.layers = nn.ModuleList(RHTB(c, *layer) for layer in zip(c.depths, c.num_heads, strict=True))
        self.norm = nn.LayerNorm(c.embed_dim)
        self.conv_after_body = residual_conv(c)
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
        self.mean = c.mean or default_mean(c.in_channels)
        self.constants = Constants()

    def bytes_kept(self, width: int, device: torch.device, dtype: torch.dtype) -> int | None:
        """What a block's kernels keep of an image of this width, with maps in `dtype`; None where there are none."""
        c = self.config
        windows = [
            correlation.Windows(c.window(block), c.patch(block), c.embed_dim, heads)
            for depth, heads in zip(c.depths, c.num_heads, strict=True)
            for block in range(depth)
        ]
        if device.type != "cpu" or not all(map(correlation.supports, windows)):
            return None
        branches, hidden = (c.embed_dim // 5, c.embed_dim), (c.mlp_dim, c.embed_dim)
        if not dual_features.supports(*branches, dtype) or not mlp.supports(*hidden, dtype):
            return None
        around = mlp.bytes_kept(*hidden, width) if c.variant == "SRF" else 0
        return around + dual_features.bytes_kept(*branches, width)

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        c = self.config
        mean = self.constants.get(("mean", image.device), (), lambda: torch.tensor(self.mean, device=image.device))
        pixels = (to_features(image) - mean) * c.img_range
        bounds = strip_bounds(image.shape[2], plan.rows)
        shallow = conv2d(plan.reported(split_rows(pixels, bounds)), self.conv_first).map(torch.Tensor.float)
        x = shallow.map(self.patch_embed)
        for layer in self.layers:
            x = layer(x, image.shape[3])
        deep = apply_conv(x.map(lambda strip: layer_norm(strip, self.norm)), self.conv_after_body)
        y = self.reconstruct(deep + shallow)
        if c.upsampler == "":
            y = y + split_rows(pixels, bounds)
        return y.map(lambda strip: strip / c.img_range + mean)

    def reconstruct(self, x: Strips) -> Strips:
        """(B, H, W, C) -> (B, sH, sW, in_channels), fp32."""
        c = self.config
        if c.upsampler == "pixelshuffledirect":
            return pixel_shuffle(conv2d(x, self.upsample[0]), c.scale).map(torch.Tensor.float)
        if c.upsampler == "":
            return conv2d(x, self.conv_last).map(torch.Tensor.float)
        x = conv2d(x, self.conv_before_upsample[0]).map(lambda strip: F.leaky_relu(strip, 0.01))
        if c.upsampler == "pixelshuffle":
            x = self.upsample(x)
        else:
            for conv in (self.conv_up1, self.conv_up2):
                x = conv2d(x.map(_doubled, 2), conv).map(lambda strip: F.leaky_relu(strip, 0.2))
            x = conv2d(x, self.conv_hr).map(lambda strip: F.leaky_relu(strip, 0.2))
        return conv2d(x, self.conv_last).map(torch.Tensor.float)


def _doubled(strip: Tensor) -> Tensor:
    """Each pixel four times."""
    return strip.repeat_interleave(2, 1).repeat_interleave(2, 2)
