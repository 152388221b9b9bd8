"""HAT's attention against the authors' way: rolled windows, gathered biases, unfolded keys, written out plainly."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from supertile.arch import hat
from supertile.arch.hat import OCAB, HATConfig, WindowAttention
from supertile.arch.strips import StripPlan, strip_bounds
from supertile.kernels.ops import attention
from torch import Tensor


def config(window: int, overlap_window: int, **others) -> HATConfig:
    small = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "compress_dim": 4, "squeeze_dim": 3, "num_feat": 8}
    return HATConfig(
        window_size=window, overlap_window=overlap_window, mlp_dim=16, oca_mlp_dim=20, **{**small, **others}
    )


def windows(x: Tensor, w: int) -> Tensor:
    b, h, width, c = x.shape
    return x.view(b, h // w, w, width // w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)


def image(parts: Tensor, w: int, b: int, h: int, width: int) -> Tensor:
    return parts.view(b, h // w, width // w, w, w, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, h, width, -1)


def official_index(w: int) -> Tensor:
    coords = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")).flatten(1)
    relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + w - 1
    return relative[..., 0] * (2 * w - 1) + relative[..., 1]


def official_overlap_index(w: int, o: int) -> Tensor:
    inner = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")).flatten(1)
    outer = torch.stack(torch.meshgrid(torch.arange(o), torch.arange(o), indexing="ij")).flatten(1)
    relative = (outer[:, None, :] - inner[:, :, None]).permute(1, 2, 0) + w - o + 1
    return relative[..., 0] * (w + o - 1) + relative[..., 1]


def official_mask(h: int, width: int, w: int, shift: int) -> Tensor:
    """(windows, L, L): regions are numbered by the slices, pixels of different regions do not see each other."""
    regions = torch.zeros(1, h, width, 1)
    slices = (slice(0, -w), slice(-w, -shift), slice(-shift, None))
    for i, rows in enumerate(slices):
        for j, columns in enumerate(slices):
            regions[:, rows, columns] = 3 * i + j
    flat = windows(regions, w).squeeze(-1)
    return torch.where(flat[:, None, :] != flat[:, :, None], -100.0, 0.0)


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (n, heads, L, d)


def reference_window_attention(attn: WindowAttention, n: Tensor, shift: int) -> Tensor:
    b, h, width, c = n.shape
    (w, _), heads = attn.window, attn.num_heads
    rolled = n.roll((-shift, -shift), (1, 2))
    qkv = F.linear(windows(rolled, w), attn.qkv.weight, attn.qkv.bias)
    q, k, v = (split_heads(part, heads) for part in qkv.split(c, -1))
    logits = q * attn.scale @ k.transpose(-2, -1)
    logits = logits + attn.relative_position_bias_table[official_index(w)].permute(2, 0, 1)
    if shift:
        logits = logits + official_mask(h, width, w, shift).repeat(b, 1, 1)[:, None]
    out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    out = F.linear(out, attn.proj.weight, attn.proj.bias)
    return image(out, w, b, h, width).roll((shift, shift), (1, 2))


def reference_overlap_block(block: OCAB, x: Tensor) -> Tensor:
    b, h, width, c = x.shape
    (w, _), o, heads = block.window, block.overlap_window, block.num_heads
    qkv = F.linear(block.norm1(x), block.qkv.weight, block.qkv.bias)
    q, kv = qkv[..., :c], qkv[..., c:].permute(0, 3, 1, 2)
    around = F.unfold(kv, o, stride=w, padding=(o - w) // 2)  # (B, 2C o², windows)
    around = around.view(b, 2, c, o * o, -1).permute(1, 0, 4, 3, 2).reshape(2, -1, o * o, c)
    q, k, v = (split_heads(part, heads) for part in (windows(q, w), *around))
    bias = block.relative_position_bias_table[official_overlap_index(w, o)].permute(2, 0, 1)
    logits = q * block.scale @ k.transpose(-2, -1) + bias
    out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    y = image(F.linear(out, block.proj.weight, block.proj.bias), w, b, h, width) + x
    hidden = F.gelu(F.linear(block.norm2(y), block.mlp.fc1.weight, block.mlp.fc1.bias))
    return y + F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)


def attend(attn: WindowAttention, n: Tensor, rows: int | None = None) -> Tensor:
    """The attention of the whole image, or of strips of it."""
    bounds = strip_bounds(n.shape[1], rows, attn.shift, attn.window[0])
    return torch.cat([attn(n[:, a:b], a, n.shape[1]) for a, b in pairwise(bounds)], 1)


def whole(block: OCAB, x: Tensor, rows: int | None = None) -> Tensor:
    return torch.cat(list(block(x, StripPlan(rows))), 1)


@pytest.mark.parametrize("rows", [None, 1, 8])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    ("window", "sides"),
    [(4, (12, 8)), (4, (4, 12)), (4, (4, 4)), (7, (14, 21)), (5, (5, 15)), (1, (3, 2)), (2, (6, 4))],
)
def test_window_attention_is_the_authors(randomized, window, sides, shifted, rows):
    shift = window // 2 if shifted else 0
    attn = randomized(WindowAttention(config(window, window + 2), 2, shift))
    n = torch.randn(2, *sides, 12)
    expected = reference_window_attention(attn, n, shift)
    torch.testing.assert_close(attend(attn, n, rows), expected, atol=1e-5, rtol=1e-5)


def test_qk_scale_and_absent_qkv_bias_are_respected(randomized):
    attn = randomized(WindowAttention(config(4, 6, qkv_bias=False, qk_scale=0.9), 2, 2))
    assert attn.scale == 0.9
    assert "qkv.bias" not in attn.state_dict()
    n = torch.randn(1, 8, 8, 12)
    expected = reference_window_attention(attn, n, 2)
    torch.testing.assert_close(attend(attn, n), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [None, 1, 8])
@pytest.mark.parametrize(
    ("window", "overlap_window", "sides"),
    [(4, 6, (8, 12)), (4, 4, (4, 8)), (7, 9, (14, 7)), (8, 14, (8, 8)), (4, 10, (4, 4))],
)
def test_overlapping_cross_attention_is_the_authors(randomized, window, overlap_window, sides, rows):
    block = randomized(OCAB(config(window, overlap_window), 3))
    x = torch.randn(2, *sides, 12)
    torch.testing.assert_close(whole(block, x, rows), reference_overlap_block(block, x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("window", "overlap_window"), [(16, 24), (7, 9), (8, 14)])
def test_negative_official_indices_name_the_same_rows(window, overlap_window):
    official = official_overlap_index(window, overlap_window)
    rows = (window + overlap_window - 1) ** 2
    assert official.min() < 0
    ours = hat.overlap_bias_index(window, overlap_window)
    assert torch.equal(torch.arange(rows)[official], ours)
    assert torch.equal(official_index(window), hat.window_bias_index(window))


@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (2, 2), (7, 4), (3, 1)])
def test_the_mean_of_a_convolution_needs_no_convolution(sides):
    conv = torch.nn.Conv2d(5, 7, 3, padding=1)
    x = torch.randn(2, *sides, 5)
    expected = conv(x.permute(0, 3, 1, 2)).mean((2, 3))
    torch.testing.assert_close(hat.mean_of_convolution(x, conv)[:, 0, 0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_padded_heads_change_nothing(randomized, monkeypatch, bias):
    c = config(4, 6, qkv_bias=bias)
    attn, block = randomized(WindowAttention(c, 2, 2)), randomized(OCAB(c, 2))
    n = torch.randn(1, 8, 12, 12)
    plain = attend(attn, n), whole(block, n)
    monkeypatch.setattr(attention, "kernel_head_dim", lambda head_dim, device: 8)
    assert attention.projections(attn)[0].shape == (3 * 2 * 8, 12), "heads of 6 channels are padded to 8"
    torch.testing.assert_close(attend(attn, n), plain[0], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(whole(block, n), plain[1], atol=2e-6, rtol=1e-5)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="larger by an even number"):
        config(4, 7)
    with pytest.raises(ValueError, match="larger by an even number"):
        config(4, 2)
    with pytest.raises(ValueError, match="12 channels cannot be shared by 5 heads"):
        config(4, 6, num_heads=(5,))
    with pytest.raises(ValueError, match="3conv"):
        config(4, 6, resi_connection="3conv")
