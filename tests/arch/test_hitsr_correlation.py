"""HiT-SR's correlation against the equations written out: an L x L' map, a bias gathered for every pair of pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from supertile.arch import hitsr
from supertile.arch.hitsr import Correlation, HiTSRConfig
from supertile.arch.layers import reflected_index
from supertile.arch.strips import split_rows
from torch import Tensor, nn


def correlation(randomized, base: tuple[int, int], ratio: float, heads: int = 2) -> Correlation:
    config = HiTSRConfig(
        variant="SIR", embed_dim=20, depths=(1,), num_heads=(heads,), base_window=base, window_ratios=(ratio,)
    )
    return randomized(Correlation(config, heads, 0))


def reference_bias(c: Correlation) -> Tensor:
    """(heads, L, L'): the position MLP at every pair of pixels, then the mean over the pixels of each patch."""
    (h, w), (rh, rw) = c.windows.size, c.windows.patch
    at = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    relative = (at[:, None] - at[None, :]).float()  # (L, L, 2), query - key
    x = c.pos.pos_proj(relative)
    for layers in (c.pos.pos1, c.pos.pos2, c.pos.pos3):
        x = layers(x)
    bias = x.permute(2, 0, 1).reshape(c.windows.heads, h * w, h // rh, rh, w // rw, rw)
    return bias.mean((3, 5)).flatten(2)


def reference(c: Correlation, x: Tensor) -> Tensor:
    (h, w), (rh, rw) = c.windows.size, c.windows.patch
    b, height, width, dim = x.shape
    rows, columns = -(-height // h) * h, -(-width // w) * w
    padded = x[:, reflected_index(height, rows)][:, :, reflected_index(width, columns)].permute(0, 3, 1, 2)
    qv = (c.qv.conv(padded) * c.qv.linear(padded)).permute(0, 2, 3, 1)
    bias, out = reference_bias(c), torch.zeros(b, rows, columns, dim)
    d, length = dim // 2 // c.windows.heads, h * w
    for item in range(b):
        for top in range(0, rows, h):
            for left in range(0, columns, w):
                q, v = qv[item, top : top + h, left : left + w].reshape(length, 2, -1).unbind(1)
                patches = v.reshape(h // rh, rh, w // rw, rw, -1).permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
                pooled = torch.einsum("jkc,k->jc", patches, c.spatial_linear.weight[0]) + c.spatial_linear.bias
                spatial = []
                for head in range(c.windows.heads):
                    mine = slice(head * d, (head + 1) * d)
                    spatial.append((q[:, mine] @ pooled[:, mine].T / d + bias[head]) @ pooled[:, mine])
                channel = ((q.T @ v / length) @ v.T).T
                both = torch.cat([*spatial, channel], dim=-1)
                out[item, top : top + h, left : left + w] = c.proj(both).view(h, w, dim)
    return x + NORM(out[:, :height, :width])


NORM = nn.LayerNorm(20)


def whole(c: Correlation, x: Tensor) -> Tensor:
    """x + NORM(correlation), by kernels where there are any for this window."""
    with torch.no_grad():
        (y,) = c(split_rows(x, [0, x.shape[1]]), x.shape[2], NORM)
    return y


@pytest.mark.parametrize(
    ("base", "ratio", "sides"),
    [
        ((4, 4), 0.5, (5, 7)),
        ((4, 4), 1, (8, 4)),
        ((4, 4), 2, (13, 9)),
        ((4, 4), 4, (3, 18)),
        ((2, 4), 2, (5, 9)),
        ((3, 3), 3, (1, 1)),
        ((4, 4), 2, (1, 20)),
    ],
)
@pytest.mark.parametrize("kernels", [True, False])
def test_correlation_is_what_the_equations_say(randomized, monkeypatch, base, ratio, sides, kernels):
    c = correlation(randomized, base, ratio)
    if not kernels:
        for name in ("correlation", "dual_features"):
            monkeypatch.setattr(f"supertile.kernels.cpu.{name}.can_run", lambda *given: False)
    x = torch.randn(2, *sides, 20)
    torch.testing.assert_close(whole(c, x), reference(c, x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("base", "ratio"), [((4, 4), 0.5), ((4, 4), 1), ((4, 4), 4), ((2, 3), 2)])
def test_filtered_position_bias_is_the_mean_over_each_patch(randomized, base, ratio):
    c = correlation(randomized, base, ratio)
    torch.testing.assert_close(c.position_bias().transpose(1, 2), reference_bias(c), atol=1e-6, rtol=1e-5)


def test_a_position_bias_too_large_to_keep_is_laid_out_anew(randomized, monkeypatch):
    c = correlation(randomized, (4, 4), 2)
    x = torch.randn(1, 10, 10, 20)
    kept = whole(c, x)
    assert c.position_bias() is c.position_bias()
    monkeypatch.setattr(hitsr, "LARGEST_KEPT_BIAS", 100)
    assert c.position_bias() is not c.position_bias()
    assert torch.equal(whole(c, x), kept)


def test_nearest_head_enlarges_as_interpolate_does(randomized):
    net = randomized(
        hitsr.HiTSR(
            HiTSRConfig(
                embed_dim=20, depths=(1,), num_heads=(2,), window_ratios=(1,), upsampler="nearest+conv", num_feat=8
            )
        )
    )
    x = torch.randn(1, 20, 5, 6)
    y = F.leaky_relu(net.conv_before_upsample[0](x), 0.01)
    for conv in (net.conv_up1, net.conv_up2):
        y = F.leaky_relu(conv(F.interpolate(y, scale_factor=2, mode="nearest")), 0.2)
    y = net.conv_last(F.leaky_relu(net.conv_hr(y), 0.2))
    (ours,) = net.reconstruct(split_rows(x.permute(0, 2, 3, 1), [0, 5]))
    torch.testing.assert_close(ours.permute(0, 3, 1, 2), y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "SRX"}, "SRX"),
        ({"upsampler": "bicubic"}, "bicubic"),
        ({"upsampler": "nearest+conv", "scale": 2}, "by 4, not by 2"),
        ({"resi_connection": "identity"}, "identity"),
        ({"window_ratios": (1,)}, "window ratios"),
        ({"num_heads": (7,) * 4}, "7 heads"),
        ({"window_ratios": (1.5,) * 6}, "neither smaller than nor divisible"),
        ({"base_window": (1, 1)}, "neither smaller"),
    ],
)
def test_impossible_hyperparameters_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        HiTSRConfig(**changes)
