"""FLOPs by definition, against what PyTorch counts in networks that compute as they are defined."""

from __future__ import annotations

import pytest
import torch
from spandrel import MAIN_REGISTRY
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.arch.hat import overlap_bias_index, window_bias_index
from supertile.arch.hitsr import Correlation
from supertile.benchmarks.flops import flops
from supertile.kernels.ops.correlation import sum_patches
from supertile.kernels.windows import grid_from_windows, grid_of_windows, windows_of
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted(network: nn.Module, height: int, width: int) -> int:
    """By PyTorch, which sees the products of attention where they are not fused."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.eval()(torch.rand(1, 3, height, width))
    return counter.get_total_flops()


HATS = [
    HATConfig(embed_dim=24, depths=(2, 3), num_heads=(2, 2), window_size=8, overlap_window=12, compress_dim=8,
              squeeze_dim=4, mlp_dim=48, oca_mlp_dim=48, num_feat=16, scale=scale)
    for scale in (2, 3, 4)
]  # fmt: skip


@pytest.mark.parametrize("config", HATS, ids=lambda c: f"x{c.scale}")
def test_hat_is_what_spandrels_computes(config):
    """spandrel's network is the authors' code: nothing left out, nothing twice, where the sides are whole windows."""
    state = HAT(config).state_dict()
    state["relative_position_index_SA"] = window_bias_index(config.window_size)
    state["relative_position_index_OCA"] = overlap_bias_index(config.window_size, config.overlap_window)
    theirs = MAIN_REGISTRY["HAT"].architecture.load(state).model
    for height, width in ((16, 16), (24, 40)):
        assert flops(config, height, width) == counted(theirs, height, width)


def test_hat_of_ours_differs_by_what_is_known():
    """A shifted window is cut at the border; the gate's mean is computed beside; the first convolution runs twice."""
    config = HATS[0]
    height, width, w, shift = 24, 40, config.window_size, config.shift
    saved = 0
    for shifted in (depth // 2 for depth in config.depths):
        keys = torch.full((height, width), w * w)
        keys[:shift] = keys[-shift:] = w * (w - shift)
        keys[:, :shift] //= 2
        keys[:, -shift:] //= 2
        saved += shifted * 4 * config.embed_dim * int((w * w - keys).sum())
    mean = sum(config.depths) * (2 * 9 * config.embed_dim * config.compress_dim)  # from the sums of nine taps
    first = height * width * 2 * 9 * config.in_channels * config.embed_dim
    assert counted(HAT(config), height, width) == flops(config, height, width) - saved + mean + first


@pytest.mark.parametrize(
    "config",
    [VapSRConfig(num_blocks=2), VapSRConfig(scale=2, num_feat=32, num_blocks=3, conv_groups=2), VapSRConfig(scale=3)],
    ids=["x4", "S x2", "x3"],
)
def test_vapsr_is_what_ours_computes(config):
    """All of its layers are convolutions, and ours computes each once."""
    for height, width in ((16, 16), (17, 31)):
        assert flops(config, height, width) == counted(VapSR(config), height, width)


def as_defined(self: Correlation, qv: Tensor, context: Tensor | None) -> Tensor:
    """Both correlations as the paper writes them, each product for itself."""
    windows = windows_of(qv, self.windows.size)
    if context is not None:
        windows = windows + context[:, None]
    length, dim = windows.shape[1:]
    q, v = windows.split(dim // 2, dim=-1)
    patches = sum_patches(windows, self.windows, self.spatial_linear)
    by_head, keys = (x.unflatten(-1, (self.windows.heads, -1)).transpose(1, 2) for x in (q, patches))
    spatial = (by_head @ keys.transpose(2, 3) / keys.shape[-1] + self.position_bias().transpose(1, 2)) @ keys
    channel = v @ (q.transpose(1, 2) @ v / length).transpose(1, 2)
    both = torch.cat([spatial.transpose(1, 2).flatten(2), channel], -1)
    y = torch.nn.functional.linear(both, self.proj.weight)
    grid = grid_of_windows(qv, self.windows.size)
    return grid_from_windows(y, grid).reshape(qv.shape)


@pytest.mark.parametrize("variant", ["SRF", "SIR", "SNG"])
@pytest.mark.parametrize("options", [{}, {"upsampler": "nearest+conv", "resi_connection": "3conv"}], ids=["", "large"])
def test_hitsr_is_what_its_definition_computes(variant, options, monkeypatch):
    config = HiTSRConfig(
        variant=variant, embed_dim=20, depths=(3, 2), num_heads=(2, 2), window_ratios=(0.5, 1, 2), mlp_dim=24, **options
    )
    torch.manual_seed(0)
    network, image = HiTSR(config).eval(), torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        ours = network(image)
        fewer = counted(network, 32, 64)  # and the position biases are kept from now on
        monkeypatch.setattr(Correlation, "correlate", as_defined)
        torch.testing.assert_close(network(image), ours, atol=1e-5, rtol=1e-5)
    # What the counter sees elsewhere than the definition has it: a patch of one pixel is multiplied, not summed up; the
    # mean over the four windows of a bigram is taken before the projection; both rows of the unigrams' kernel meet all
    # channels, and half of what they give is used.
    missing, pixels = 0, 32 * 64
    for block in (block for depth in config.depths for block in range(depth)):
        missing += pixels * config.embed_dim if config.patch(block) == (1, 1) else 0
        if variant == "SNG":
            h, w = config.window(block)
            missing += pixels // (h * w) * 2 * 3 * 2 * (config.embed_dim // 2) ** 2 - pixels * 2 * config.embed_dim
    assert counted(network, 32, 64) == flops(config, 32, 64) - missing
    assert fewer < counted(network, 32, 64)


@pytest.mark.parametrize(("variant", "published"), [("SIR", 53.8), ("SNG", 57.7), ("SRF", 58.0)])
def test_the_published_hitsr_need_about_what_their_authors_say(variant, published):
    """G multiply-adds for a result of 1280x720 at x4; theirs contain windows filled beyond the image, and norms."""
    giga = flops(HiTSRConfig(variant=variant), 180, 320) / 2e9
    assert 0.9 * published < giga < published
