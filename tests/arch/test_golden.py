"""The authors' own outputs, for every golden case: what is loaded from the file gives them, in any order and batch."""

from __future__ import annotations

import os

import pytest
import torch
from supertile.weights.loader import inspect_checkpoint, load_model

FAMILIES = {"HAT": "HAT", "HiT_SIR": "HiT-SR", "HiT_SNG": "HiT-SR", "HiT_SRF": "HiT-SR", "vapsr": "VapSR"}


@torch.inference_mode()
def test_output_is_the_authors(golden):
    model = load_model(golden.path, **golden.options).model
    output = model(golden.io["input"])
    error = (output - golden.io["output"]).abs().max().item()
    if os.environ.get("SUPERTILE_FIGURES"):
        print(f"\n{golden.name} {error:.2e}")
    assert output.shape == golden.io["output"].shape
    assert output.dtype == torch.float32
    assert error <= golden.limit


def test_inspection_tells_what_the_network_is(golden):
    facts = golden.facts
    info = inspect_checkpoint(golden.path, **golden.options)
    assert info.family == FAMILIES[facts["family"]]
    assert info.scale == facts["scale"]
    assert info.parameters == facts["params"]
    assert (info.input_channels, info.output_channels) == (facts["input_shape"][1], facts["output_shape"][1])
    assert (info.dtype, info.container) == ("fp32", "safetensors")
    if "HiT" in facts["family"]:
        assert info.variant.startswith(facts["family"].replace("_", "-"))


def test_official_hyperparameters_are_read_from_shapes(golden):
    official, ours = golden.facts["config"], inspect_checkpoint(golden.path).hyperparameters
    if golden.facts["family"] == "vapsr":
        assert ours["num_blocks"] == official["num_block"]
        assert ours["attention_dim"] == official["d_atten"]
        assert ours["conv_groups"] == official.get("conv_groups", 1)
        return
    for name, default in (("embed_dim", 60), ("depths", [6] * 4), ("num_heads", [6] * 4)):
        value = official.get(name, default)
        assert ours[name] == (tuple(value) if isinstance(value, list) else value), name
    if golden.facts["family"] == "HAT":
        window = official["window_size"]
        assert ours["window_size"] == window
        assert ours["overlap_window"] == window + int(window * official["overlap_ratio"])
        assert ours["compress_dim"] == official["embed_dim"] // official["compress_ratio"]
        assert ours["squeeze_dim"] == official["embed_dim"] // official["squeeze_factor"]
        assert ours["mlp_dim"] == int(official["embed_dim"] * official["mlp_ratio"])
        assert ours["resi_connection"] == official["resi_connection"]
        assert (ours["qkv_bias"], ours["patch_norm"]) == (
            official.get("qkv_bias", True),
            official.get("patch_norm", True),
        )
    else:
        assert ours["window_ratios"] == tuple(official.get("hier_win_ratios", [0.5, 1, 2, 4, 6, 8]))
        assert ours["upsampler"] == official.get("upsampler", "pixelshuffledirect")
        assert ours["base_window"] == (8, 8)


@pytest.mark.parametrize("name", ["hat_tiny_w8_x2", "hit_sir_small_3conv_ps_x2", "vapsr_odd_x3"])
@torch.inference_mode()
def test_what_was_computed_before_does_not_matter(golden_case, name):
    case = golden_case(name)
    model = load_model(case.path).model
    image = case.io["input"]
    first = model(image)
    for height, width in ((9, 30), (1, 1), (37, 20)):
        model(image[..., :height, :width])
    model(image.repeat(3, 1, 1, 1)[:, :, :20])
    assert torch.equal(model(image), first)


@pytest.mark.parametrize("name", ["hat_tiny_w8_x2", "hit_sir_small_3conv_ps_x2", "vapsr_odd_x3"])
@torch.inference_mode()
def test_a_batch_gives_what_each_image_gives(golden_case, name):
    case = golden_case(name)
    model = load_model(case.path).model
    batch = torch.cat([case.io["input"][:1, :, :24, :30], torch.rand(2, 3, 24, 30)])
    together = model(batch)
    for image, result in zip(batch, together, strict=True):
        torch.testing.assert_close(model(image[None])[0], result, atol=2e-5, rtol=1e-5)
