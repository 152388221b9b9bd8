"""Attention in windows of a map: self-attention over plain or shifted windows, and overlapping cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .. import autotune
from ..constants import Constants
from ..cpu import attention as cpu
from ..windows import grid_from_windows, grid_of_windows, round_up, window_spans, windows_of
from .choice import fastest
from .pixels import linear

BAND_PIXELS = 4096
"""Pixels whose queries, keys and values are computed and used on a CPU before the next: they stay in cache."""

WINDOWS_IN_CACHE = 32
"""Windows that PyTorch's attention takes at a time on a CPU, for the same reason."""


class WindowLayers(Protocol):
    """The windows of attention: their size, heads, scale and position bias.

    Attributes:
        window: Rows and columns of a window.
        constants: Where packed biases, and padded weights if there are any, are kept.
    """

    num_heads: int
    window: tuple[int, int]
    scale: float
    constants: Constants

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Return the position bias of whole windows, (1, heads, L, L')."""

    def bias_sources(self) -> tuple[Tensor, ...]:
        """Return what `bias` is made of."""


class HeadLayers(WindowLayers, Protocol):
    """The layers of multi-head attention in windows.

    Attributes:
        qkv: Projects features to queries, keys and values, heads one after the other in each.
        proj: Projects what the heads return.
    """

    qkv: nn.Linear
    proj: nn.Linear

    def parameters(self) -> Iterator[nn.Parameter]: ...


class OverlappingLayers(HeadLayers, Protocol):
    """Those of overlapping attention, whose keys come from a window of `overlap_window` around that of the queries."""

    overlap_window: int
    halo: int


# --- self-attention ----------------------------------------------------------------------------------------------


def window_attention(n: Tensor, layers: HeadLayers, *, shift: int, start: int, height: int) -> Tensor:
    """Return the self-attention of windows, projected; (B, h, W, C) -> (B, h, W, C) in the dtype of the weights.

    Args:
        n: Rows `start` to `start + h` of features that are `height` rows high; h and W are whole windows, shifted or
            cut by a border.
        layers: The layers.
        shift: How far the grid of windows begins below and right of the image's corner, less than a window.
        start: See `n`.
        height: See `n`.
    """
    tensors = (n, *layers.parameters())
    return fastest(
        "window attention",
        lambda: _self_attention(n, layers, shift, start, height),
        c=(lambda: _self_attention_in_c(n, layers, shift, start, height)) if cpu.can_run(*tensors) else None,
        triton=lambda: _self_attention_in_triton(n, layers, shift, start),
        tensors=tensors,
        kind=(n.shape[-1], layers.num_heads, *layers.window, shift > 0),
        tf32=autotune.tf32_products,
    )


def _self_attention(n: Tensor, layers: HeadLayers, shift: int, start: int, height: int) -> Tensor:
    """With PyTorch: windows are cut out and put back."""
    out = torch.empty(n.shape, dtype=layers.proj.weight.dtype, device=n.device)
    dtype = layers.qkv.weight.dtype
    for top, bottom, rows in window_spans(start, start + n.shape[1], height, layers.window[0], shift):
        for left, right, columns in window_spans(0, n.shape[2], n.shape[2], layers.window[1], shift):
            at = (slice(None), slice(top - start, bottom - start), slice(left, right))
            window = _lengths(rows, columns)
            grid = grid_of_windows(out[at], window)
            attended = _attend_windows(windows_of(n[at], window), layers, _visible_bias(layers, rows, columns, dtype))
            grid.copy_(grid_from_windows(attended, grid))
    return out


def _attend_windows(windows: Tensor, layers: HeadLayers, bias: Tensor) -> Tensor:
    """(windows, L, C) -> (windows, L, C)."""
    qkv_weight, qkv_bias, proj_weight = projections(layers)
    out = torch.empty(windows.shape, dtype=proj_weight.dtype, device=windows.device)
    step = WINDOWS_IN_CACHE if windows.device.type == "cpu" else max(len(windows), 1)
    for first in range(0, len(windows), step):
        qkv = linear(windows[first : first + step], qkv_weight, qkv_bias)
        q, k, v = rearrange(qkv, "n l (k h d) -> k n h l d", k=3, h=layers.num_heads)
        out[first : first + step] = linear(attention(q, k, v, bias, layers.scale), proj_weight, layers.proj.bias)
    return out


def _self_attention_in_c(n: Tensor, layers: HeadLayers, shift: int, start: int, height: int) -> Tensor:
    """Windows are read where they lie, a band of them at a time."""
    out = torch.empty(n.shape, dtype=layers.proj.weight.dtype)
    for top, bottom, rows in window_spans(start, start + n.shape[1], height, layers.window[0], shift):
        for band in _bands(top - start, bottom - start, rows.stop - rows.start, n.shape[2]):
            q, k, v = linear(n[:, band], layers.qkv.weight, layers.qkv.bias).chunk(3, dim=-1)
            attended = torch.empty_like(q, memory_format=torch.contiguous_format)
            _attend_row(_attend_in_c, layers, rows, shift, q, k, v, attended)
            out[:, band] = linear(attended, layers.proj.weight, layers.proj.bias)
    return out


def _self_attention_in_triton(n: Tensor, layers: HeadLayers, shift: int, start: int) -> Tensor:
    """One kernel for all windows of a strip; those that a border cuts lie partly outside."""
    from ..cuda import attention as cuda

    _, _, proj_weight = projections(layers)
    q, k, v = project_qkv(n, layers).chunk(3, dim=-1)
    height, width = layers.window
    origin = shift - height if shift and not start else 0, shift - width if shift else 0
    out = cuda.window_attention(
        q, k, v, heads=layers.num_heads, window=layers.window, key_window=layers.window,
        bias=layers.bias(proj_weight.dtype), scale=layers.scale, precision=autotune.precision_of_products(),
        origin=origin, key_origin=origin,
    )  # fmt: skip
    return linear(out, proj_weight, layers.proj.bias)


def attend_windows(layers: WindowLayers, q: Tensor, k: Tensor, v: Tensor, *, shift: tuple[int, int] = (0, 0)) -> Tensor:
    """Return softmax(scale q kᵀ + bias) v of the windows of a map; (B, H, W, heads D), as are q, k and v.

    Args:
        layers: The windows.
        q: Of whole windows or, on a shifted grid, of windows that the borders cut.
        k: Of the same shape; may be a view whose last dimension is dense.
        v: Likewise, of the strides of `k`.
        shift: How far the grid begins below and right of the map's corner, less than a window.
    """
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    attend = _attend_in_c if cpu.can_run(q, k, v) else _attend_in_pytorch
    for top, bottom, rows in window_spans(0, q.shape[1], q.shape[1], layers.window[0], shift[0]):
        _attend_row(attend, layers, rows, shift[1], *(each[:, top:bottom] for each in (q, k, v, out)))
    return out


def _attend_row(attend: Callable[..., None], layers: WindowLayers, rows: slice, shift: int, *of_row: Tensor) -> None:
    """Attend in whole rows of windows, which show `rows` of themselves; `of_row`: q, k, v and what is written to."""
    width = of_row[0].shape[2]
    for left, right, columns in window_spans(0, width, width, layers.window[1], shift):
        attend(layers, rows, columns, *(each[:, :, left:right] for each in of_row))


def _attend_in_c(
    layers: WindowLayers, rows: slice, columns: slice, q: Tensor, k: Tensor, v: Tensor, out: Tensor
) -> None:
    window = _lengths(rows, columns)
    cpu.window_attention(
        q, k, v, out=out, heads=layers.num_heads, window=window, key_window=window,
        bias=_packed_bias(layers, rows, columns, q.dtype), scale=layers.scale,
    )  # fmt: skip


def _attend_in_pytorch(
    layers: WindowLayers, rows: slice, columns: slice, q: Tensor, k: Tensor, v: Tensor, out: Tensor
) -> None:
    window = _lengths(rows, columns)
    queries, keys, values = (
        rearrange(windows_of(each, window), "n l (h d) -> n h l d", h=layers.num_heads) for each in (q, k, v)
    )
    attended = attention(queries, keys, values, _visible_bias(layers, rows, columns, q.dtype), layers.scale)
    grid = grid_of_windows(out, window)
    grid.copy_(grid_from_windows(attended, grid))


# --- overlapping cross-attention ---------------------------------------------------------------------------------


def project_qkv(n: Tensor, layers: HeadLayers) -> Tensor:
    """Return queries, keys and values of (B, H, W, C), one after the other, (B, H, W, 3 C') in the weights' dtype."""
    weight, bias, _ = projections(layers)
    return linear(n, weight, bias)


def overlapping_attention(q: Tensor, kv: Tensor, layers: OverlappingLayers, above: int) -> Tensor:
    """Return the attention of windows to larger windows around them, projected; (B, h, W, C).

    Beyond the image keys and values are zero, and take part in the softmax: such a key's logit is its bias alone.

    Args:
        q: Queries of a strip, (B, h, W, C').
        kv: Keys and values of the strip and the rows around it within the image, (B, h', W, 2 C').
        layers: The layers.
        above: How many rows of `kv` lie above the strip.
    """
    tensors = (q, kv, *layers.parameters())
    return fastest(
        "overlapping attention",
        lambda: _overlapping(q, _zero_padded(kv, layers, above, q.shape[1]), layers),
        c=(lambda: _overlapping_in_c(q, kv, layers, above)) if cpu.can_run(*tensors) else None,
        triton=lambda: _overlapping_in_triton(q, kv, layers, above),
        tensors=tensors,
        kind=(q.shape[-1], layers.num_heads, *layers.window, layers.overlap_window),
        tf32=autotune.tf32_products,
    )


def attends_in_place(device: torch.device) -> bool:
    """Return whether overlapping windows are read from the map there, or else copied out of it."""
    return device.type == "cpu" and cpu.can_run()


def _zero_padded(kv: Tensor, layers: OverlappingLayers, above: int, rows: int) -> Tensor:
    """Return keys and values of `rows` rows, with zeros beyond the image; (B, rows + 2 halo, W + 2 halo, 2 C)."""
    halo = layers.halo
    return F.pad(kv, (0, 0, halo, halo, halo - above, above + rows + halo - kv.shape[1]))


def _overlapping(q: Tensor, kv: Tensor, layers: OverlappingLayers) -> Tensor:
    """With PyTorch: windows are cut out, and put back. kv: zero-padded."""
    (w, _), o, heads = layers.window, layers.overlap_window, layers.num_heads
    _, _, proj_weight = projections(layers)
    bias = layers.bias(proj_weight.dtype)
    y = torch.empty((*q.shape[:3], proj_weight.shape[0]), dtype=proj_weight.dtype, device=q.device)
    step = w if q.device.type == "cpu" else q.shape[1]  # one row of windows at a time stays in cache
    for top in range(0, q.shape[1], step):
        rows = slice(top, top + step)
        around = kv[:, top : top + step + 2 * layers.halo].unfold(1, o, w).unfold(2, o, w)  # (B, nh, nw, 2 C, o, o)
        queries = rearrange(windows_of(q[:, rows], (w, w)), "n l (h d) -> n h l d", h=heads)
        around = rearrange(around, "b nh nw c oh ow -> (b nh nw) (oh ow) c")
        keys, values = rearrange(around, "n l (k h d) -> k n h l d", k=2, h=heads)
        out = linear(attention(queries, keys, values, bias, layers.scale), proj_weight, layers.proj.bias)
        grid = grid_of_windows(y[:, rows], (w, w))
        grid.copy_(grid_from_windows(out, grid))
    return y


def _overlapping_in_c(q: Tensor, kv: Tensor, layers: OverlappingLayers, above: int) -> Tensor:
    (w, _), o = layers.window, layers.overlap_window
    _, _, proj_weight = projections(layers)
    k, v = _zero_padded(kv, layers, above, q.shape[1]).chunk(2, dim=-1)
    out = torch.empty(q.shape, dtype=q.dtype)
    cpu.window_attention(
        q, k, v, out=out, heads=layers.num_heads, window=(w, w), key_window=(o, o),
        bias=_packed_bias(layers, slice(0, w), slice(0, w), q.dtype), scale=layers.scale,
    )  # fmt: skip
    return linear(out, proj_weight, layers.proj.bias)


def _overlapping_in_triton(q: Tensor, kv: Tensor, layers: OverlappingLayers, above: int) -> Tensor:
    from ..cuda import attention as cuda

    (w, _), o, halo = layers.window, layers.overlap_window, layers.halo
    _, _, proj_weight = projections(layers)
    k, v = kv.chunk(2, dim=-1)
    out = cuda.window_attention(
        q, k, v, heads=layers.num_heads, window=(w, w), key_window=(o, o), bias=layers.bias(proj_weight.dtype),
        scale=layers.scale, precision=autotune.precision_of_products(), key_origin=(above - halo, -halo),
        zero_padding=True,
    )  # fmt: skip
    return linear(out, proj_weight, layers.proj.bias)


# --- heads, bands and biases -------------------------------------------------------------------------------------


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return softmax(scale q kᵀ + bias) v; q (B, heads, L, D), k and v (B, heads, L', D) -> (B, L, heads D)."""
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return rearrange(out, "b h l d -> b l (h d)")


def projections(layers: HeadLayers) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the weight and bias of `qkv` and the weight of `proj` with heads as wide as kernels take them.

    Zeros where the checkpoint has fewer channels, so that results do not change.
    """
    qkv, proj, heads = layers.qkv, layers.proj, layers.num_heads
    dim = proj.weight.shape[1] // heads
    padded = kernel_head_dim(dim, qkv.weight.device)
    if padded == dim:
        return qkv.weight, qkv.bias, proj.weight

    def pad() -> tuple[Tensor, Tensor | None, Tensor]:
        by_head = rearrange(proj.weight, "o (h d) -> o h d", h=heads)
        return (
            _pad_heads(qkv.weight, heads, padded),
            None if qkv.bias is None else _pad_heads(qkv.bias, heads, padded),
            F.pad(by_head, [0, padded - dim]).flatten(1),
        )

    sources = tuple(p for p in (qkv.weight, qkv.bias, proj.weight) if p is not None)
    return layers.constants.get(("projections", padded), sources, pad)


def kernel_head_dim(head_dim: int, device: torch.device) -> int:
    """Return the head dimension that fused kernels take: a multiple of 8 on an accelerator (HAT's 30 becomes 32)."""
    return head_dim if device.type == "cpu" else round_up(head_dim, 8)


def _pad_heads(weight: Tensor, heads: int, padded_dim: int) -> Tensor:
    """Append zeros to every head of a projection's output; (3 heads d, ...) -> (3 heads padded_dim, ...)."""
    by_head = rearrange(weight, "(k h d) ... -> (k h) d ...", k=3, h=heads)
    padding = [0, 0] * (by_head.dim() - 2) + [0, padded_dim - by_head.shape[1]]
    return F.pad(by_head, padding).flatten(0, 1)


def _bands(start: int, stop: int, window: int, width: int) -> Iterator[slice]:
    """Yield whole rows of windows, few enough that what attention reads and leaves stays in cache."""
    step = max(BAND_PIXELS // (window * width), 1) * window
    for top in range(start, stop, step):
        yield slice(top, min(top + step, stop))


def _visible_bias(layers: WindowLayers, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
    """Return the bias between the pixels of a window that a border leaves; (1, heads, L, L')."""
    (height, width), whole = layers.window, layers.bias(dtype)
    if (rows, columns) == (slice(0, height), slice(0, width)):
        return whole
    by_axis = rearrange(whole, "one h (qh qw) (kh kw) -> one h qh qw kh kw", qw=width, kw=width)
    visible = by_axis[:, :, rows, columns, rows, columns]
    return rearrange(visible, "one h qh qw kh kw -> one h (qh qw) (kh kw)")


def _packed_bias(layers: WindowLayers, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
    return layers.constants.get(
        ("packed bias", rows.start, rows.stop, columns.start, columns.stop, dtype),
        layers.bias_sources(),
        lambda: cpu.pack_bias(_visible_bias(layers, rows, columns, dtype)),
    )


def _lengths(rows: slice, columns: slice) -> tuple[int, int]:
    return rows.stop - rows.start, columns.stop - columns.start
