"""Corners of the hyper-parameter space: what a network is built with is what loading its file gives back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.weights import hitsr
from supertile.weights.loader import load_model
from supertile.weights.shapes import KnownArguments

thoroughly = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def check_round_trip(tmp_path_factory, randomized):
    """Builds, saves, loads with what has to be told, and compares configuration, tensors and output."""
    path: Path = tmp_path_factory.mktemp("round_trip") / "network.safetensors"

    @torch.inference_mode()
    def check(built, size: tuple[int, int] = (5, 7), **told) -> None:
        net = randomized(built)
        save_file(net.state_dict(), path)
        model = load_model(path, **told)
        config = net.config
        assert model.model.config == config
        state = model.model.state_dict()
        assert list(state) == list(net.state_dict())
        for name, tensor in net.state_dict().items():
            assert torch.equal(tensor, state[name]), name
        image = torch.rand(1, config.in_channels, *size)
        output = model.model(image)
        torch.testing.assert_close(output, net(image), atol=1e-5, rtol=1e-5)
        assert (model.scale, model.input_channels) == (config.scale, config.in_channels)
        assert output.shape == (1, model.output_channels, size[0] * config.scale, size[1] * config.scale)

    return check


# --- HAT ---------------------------------------------------------------------------------------------------------

small = st.integers(1, 9)


@st.composite
def hat_configs(draw) -> HATConfig:
    window = draw(st.sampled_from([1, 2, 3, 4, 7, 8]))
    layers = draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 6])), min_size=1, max_size=3))
    return HATConfig(
        scale=draw(st.sampled_from([1, 2, 3, 4, 8])),
        in_channels=draw(st.sampled_from([1, 3, 4])),
        embed_dim=12,
        depths=tuple(depth for depth, _ in layers),
        num_heads=tuple(heads for _, heads in layers),
        window_size=window,
        overlap_window=window + 2 * draw(st.integers(0, 3)),
        compress_dim=draw(small),
        squeeze_dim=draw(small),
        mlp_dim=draw(small),
        oca_mlp_dim=draw(small),
        num_feat=draw(small),
        qkv_bias=draw(st.booleans()),
        patch_norm=draw(st.booleans()),
        resi_connection=draw(st.sampled_from(["1conv", "identity"])),
    )


@thoroughly
@given(config=hat_configs())
def test_any_hat(check_round_trip, config):
    check_round_trip(HAT(config))


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": 1, "in_channels": 1, "resi_connection": "identity", "patch_norm": False, "qkv_bias": False},
        {"scale": 3, "in_channels": 4, "depths": (3, 1, 2), "num_heads": (6, 3, 2)},
        {"scale": 8, "num_feat": 3},
        {"window_size": 16, "overlap_window": 24},
        {"mean": (0.5, 0.4, 0.3)},
    ],
)
def test_known_corners_of_hat(check_round_trip, changes):
    config = HATConfig(
        embed_dim=12, compress_dim=4, squeeze_dim=3, mlp_dim=18, oca_mlp_dim=24,
        **{"window_size": 7, "overlap_window": 9, "depths": (2,), "num_heads": (2,), "num_feat": 8, **changes},
    )  # fmt: skip
    check_round_trip(HAT(config), **({"mean": config.mean} if config.mean else {}))


# --- VapSR -------------------------------------------------------------------------------------------------------


@st.composite
def vapsr_configs(draw) -> VapSRConfig:
    groups, channels = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 4]))
    return VapSRConfig(
        scale=draw(st.integers(1, 8)),
        in_channels=channels,
        out_channels=channels,
        num_feat=groups * draw(st.integers(1, 5)),
        num_blocks=draw(st.integers(1, 12)),
        attention_dim=draw(small),
        conv_groups=groups,
    )


@thoroughly
@given(config=vapsr_configs())
def test_any_vapsr(check_round_trip, config):
    check_round_trip(VapSR(config))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (4, 3)])
def test_vapsr_may_give_other_channels_than_it_takes(check_round_trip, channels, scale):
    config = VapSRConfig(scale, *channels, num_feat=6, num_blocks=1, attention_dim=8, conv_groups=2)
    check_round_trip(VapSR(config))


# --- HiT-SR ------------------------------------------------------------------------------------------------------

HEADS = [
    *(("pixelshuffledirect", scale) for scale in (1, 2, 3, 4, 5, 8)),
    *(("pixelshuffle", scale) for scale in (1, 2, 3, 4, 8)),
    ("nearest+conv", 4),
    ("", 1),
]
RATIOS = [(0.5, 1), (0.5, 1, 2), (1, 2), (1,), (2,), (3, 2), (0.5, 1, 2, 4), (4, 1, 2)]


@st.composite
def hit_configs(draw) -> HiTSRConfig:
    upsampler, scale = draw(st.sampled_from(HEADS))
    ratios = draw(st.sampled_from(RATIOS))
    depths = draw(st.lists(st.integers(1, len(ratios)), min_size=1, max_size=2))
    depths[-1] = len(ratios)  # the deepest layer shows all the windows
    num_feat = draw(small) if upsampler in ("pixelshuffle", "nearest+conv") else 64
    even = st.sampled_from([2, 4, 6, 8])
    return HiTSRConfig(
        variant=draw(st.sampled_from(["SIR", "SNG", "SRF"])),
        scale=scale,
        in_channels=draw(st.sampled_from([1, 3, 4])),
        embed_dim=24,
        depths=tuple(depths),
        num_heads=tuple(draw(st.sampled_from([1, 2, 3, 4, 6])) for _ in depths),
        base_window=(draw(even), draw(even)),
        window_ratios=ratios,
        mlp_dim=draw(small),
        num_feat=num_feat,
        patch_norm=draw(st.booleans()),
        upsampler=upsampler,
        resi_connection=draw(st.sampled_from(["1conv", "3conv"])),
    )


@thoroughly
@given(config=hit_configs())
def test_any_hit(check_round_trip, config):
    told = {} if config.variant == "SNG" else {"base_window": config.base_window}
    check_round_trip(HiTSR(config), **told)


@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
@pytest.mark.parametrize("variant", ["SIR", "SNG", "SRF"])
def test_every_head_of_hit(check_round_trip, variant, upsampler, scale):
    config = HiTSRConfig(
        variant=variant, scale=scale, embed_dim=20, depths=(1, 2), num_heads=(1, 2), window_ratios=(0.5, 1), mlp_dim=9,
        upsampler=upsampler,
    )  # fmt: skip
    check_round_trip(HiTSR(config))


@thoroughly
@given(base=st.integers(1, 256), ratios=st.sampled_from(RATIOS))
def test_ngrams_tell_any_square_base_window(base, ratios):
    """Ratios are computed back from windows: half of an odd base is rounded down, and must be so again."""
    assume(base * ratios[0] >= 1)
    config = HiTSRConfig(
        variant="SNG", embed_dim=20, depths=(len(ratios),), num_heads=(1,), base_window=(base, base),
        window_ratios=ratios,
    )  # fmt: skip
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in HiTSR(config).state_dict().items()}
    found = hitsr.read_config(shapes, KnownArguments())
    assert found.base_window == config.base_window
    assert [found.window(i) for i in range(len(ratios))] == [config.window(i) for i in range(len(ratios))]
