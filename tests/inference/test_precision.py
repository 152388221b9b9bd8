"""Half precision: which layers take part, how far results may be off, and that auto takes only what agrees."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from spandrel import ImageModelDescriptor
from supertile.inference import Upscaler, precision
from supertile.kernels.cpu import mlp
from supertile.weights.loader import load_model
from torch import Tensor

CPU = torch.device("cpu")
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}

# How each kind of layer computes in half precision: the trunk's own convolutions, norms, tables and the end in fp32.
LAYERS = {
    "hat_s_like_x2": {
        "fp32": ["conv_first", "conv_last", "conv_after_body", "layers.0.conv", "norm", "patch_embed.norm"]
        + [f"layers.0.residual_group.blocks.1.{n}" for n in ("norm1", "norm2")]
        + [f"layers.0.residual_group.blocks.1.conv_block.cab.3.attention.{n}" for n in (1, 3)],
        "half": ["conv_before_upsample.0", "upsample.0"]
        + [f"layers.0.residual_group.blocks.1.{n}" for n in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
        + [f"layers.0.residual_group.blocks.1.conv_block.cab.{n}" for n in (0, 2)]
        + [f"layers.0.residual_group.overlap_attn.{n}" for n in ("qkv", "proj", "mlp.fc1", "mlp.fc2")],
    },
    "hit_sng_x3": {
        "fp32": ["conv_first", "conv_after_body", "layers.3.conv", "upsample.0", "norm"]
        + [f"layers.3.residual_group.blocks.5.correlation.{n}" for n in ("proj", "spatial_linear", "pos.pos3.2")]
        + ["layers.3.residual_group.blocks.5.correlation.ngram_window_partition.ngram_context.ngram_attn.qkv"],
        "half": [f"layers.3.residual_group.blocks.5.mlp.{n}" for n in ("fc1", "fc2")]
        + [f"layers.3.residual_group.blocks.5.correlation.qv.{n}" for n in ("conv.0", "conv.2", "conv.4", "linear")],
    },
    "vapsr_odd_x3": {
        "fp32": ["conv_first", "upsampler.2", "body.0.pixel_norm"],
        "half": ["conv_body", "upsampler.0", "body.3.proj_1", "body.3.proj_2"]
        + [f"body.3.atten_branch.{n}" for n in ("pointwise", "depthwise", "depthwise_dilated")],
    },
    "vapsr_real_x4": {"fp32": ["conv_first", "upsampler.3"], "half": ["conv_body", "upsampler.0"]},
}


@pytest.mark.parametrize("dtype", list(HALF))
@pytest.mark.parametrize("name", list(LAYERS))
def test_listed_layers_stay_in_fp32(golden_case, name, dtype):
    model = load_model(golden_case(name).path)
    copied = precision.cast(model, HALF[dtype], CPU)
    for kind, wanted in (("fp32", torch.float32), ("half", HALF[dtype])):
        for layer in LAYERS[name][kind]:
            assert {p.dtype for p in copied.model.get_submodule(layer).parameters()} == {wanted}, layer
    tables = [p for n, p in copied.model.named_parameters() if n.endswith("bias_table")]
    assert all(p.dtype == torch.float32 for p in tables)
    assert all(p.dtype == torch.float32 for p in model.model.parameters()), "the caller's model stays as it is"
    assert (copied.scale, copied.architecture) == (model.scale, model.architecture)


def test_models_of_others_are_half_throughout(enlarger):
    assert precision.cast(enlarger(), torch.bfloat16, CPU).model.one.dtype == torch.bfloat16


@torch.inference_mode()
def agreement(model: ImageModelDescriptor, dtype: torch.dtype, image: Tensor) -> float:
    """dB between the network in half precision, as the Upscaler runs it, and in fp32."""
    exact, half = (precision.run(precision.cast(model, d, CPU), image) for d in (torch.float32, dtype))
    assert half.dtype == torch.float32
    return precision.psnr(half, exact)


@pytest.mark.parametrize(("dtype", "least"), [("fp16", 58.0), ("bf16", 43.0)])
def test_every_golden_network_agrees_with_its_fp32(golden, dtype, least):
    model = load_model(golden.path, **golden.options)
    image = precision.probe_image(model.input_channels)[..., :32, :32]
    if dtype == "bf16" and not mlp.supports(120, 60, HALF[dtype]):  # PyTorch's layers also store sums in bf16
        least -= 2
    assert agreement(model, HALF[dtype], image) >= least


@pytest.mark.parametrize("name", ["hat_s_like_x2", "hit_srf_small_nearest_x4", "vapsr_real_x4"])
@torch.inference_mode()
def test_layers_in_fp32_are_worth_it(golden_case, name):
    """A network that is half throughout is farther off by some decibels, though its trunk is still fp32."""
    model = load_model(golden_case(name).path)
    image = precision.probe_image(3)[..., :32, :32]
    throughout = copy.deepcopy(model.model).bfloat16()(image)
    assert agreement(model, torch.bfloat16, image) > precision.psnr(throughout, model.model(image)) + 2


@pytest.mark.parametrize(("dtype", "least"), [("fp16", 70.0), ("bf16", 50.0)])
@pytest.mark.parametrize("name", ["VapSR_X2", "VapSR_X4", "VapSR-S"])
def test_official_vapsr_agrees_on_a_photograph(official_vapsr, image_pairs, read_rgb, name, dtype, least):
    model = load_model(official_vapsr(f"{name}.pth"))
    image = read_rgb(image_pairs("Set5", model.scale)[2][0])[None, :, 10:42, 10:42]
    assert agreement(model, HALF[dtype], image) >= least


def test_official_vapsr_restores_set5_in_bf16_almost_as_well(official_vapsr, image_pairs, read_rgb):
    model = load_model(official_vapsr("VapSR_X4.pth"))
    exact, half = (Upscaler(model, device="cpu", precision=name) for name in ("fp32", "bf16"))
    for small, large in image_pairs("Set5", 4):
        truth, image = read_rgb(large), read_rgb(small)[None]
        a, b = exact(image)[0], half(image)[0]
        assert precision.psnr(a, b) >= 50
        assert abs(precision.psnr(a, truth) - precision.psnr(b, truth)) <= 0.05


# --- auto --------------------------------------------------------------------------------------------------------


def test_auto_on_a_cpu_is_fp32_for_published_networks(official_vapsr, monkeypatch):
    """bf16 is within 50 to 57 dB of fp32, which is too far."""
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    assert Upscaler(load_model(official_vapsr("VapSR_X4.pth")), device="cpu").dtype == torch.float32


@pytest.fixture
def insensitive(vapsr):
    """A network whose result does not depend on what it computes in half precision."""
    model = copy.deepcopy(vapsr, {id(vapsr.architecture): vapsr.architecture})
    model.model.upsampler[2].weight.data.zero_()
    return model


def test_auto_takes_half_precision_that_agrees_and_measures_once(insensitive, monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    passes = []
    insensitive.model.register_forward_pre_hook(lambda *_: passes.append(1))
    for _ in range(3):
        assert Upscaler(insensitive, device="cpu").dtype == torch.bfloat16
    assert len(passes) == 2, "fp32 and bf16, once for this model"


def test_auto_does_not_take_what_the_processor_would_emulate(insensitive, monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: False)
    assert Upscaler(insensitive, device="cpu").dtype == torch.float32


def test_auto_leaves_models_of_others_in_fp32_on_a_cpu(enlarger, monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    assert Upscaler(enlarger(), device="cpu").dtype == torch.float32


@pytest.mark.parametrize("name", ["fp32", *HALF])
def test_a_precision_that_is_asked_for_is_used(vapsr, name):
    upscaler = Upscaler(vapsr, device="cpu", precision=name)
    image = torch.rand(1, 3, 12, 12)
    result = upscaler(image)
    assert upscaler.dtype == precision.PRECISIONS[name]
    assert result.dtype == torch.float32
    exact = vapsr.model(image).clamp(0, 1)
    assert (result - exact).abs().max() <= {"fp32": 1e-6, "fp16": 2e-3, "bf16": 2e-2}[name]
    assert torch.equal(result, exact) == (name == "fp32")


# --- the measure -------------------------------------------------------------------------------------------------


def test_psnr_is_what_numpy_says():
    a, b = torch.rand(1, 3, 9, 9) * 1.4 - 0.2, torch.rand(1, 3, 9, 9)
    error = np.mean((np.clip(a.double().numpy(), 0, 1) - b.double().numpy()) ** 2)
    assert precision.psnr(a, b) == pytest.approx(10 * np.log10(1 / error), abs=1e-9)
    assert precision.psnr(b, b) == float("inf")
    assert precision.psnr(torch.full_like(b, float("nan")), b) == float("-inf")
    assert precision.psnr(torch.full_like(b, float("inf")), b) == float("-inf")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_probe_has_flat_areas_edges_and_texture(channels):
    probe = precision.probe_image(channels)
    assert probe.shape == (1, channels, 48, 48)
    assert torch.equal(probe, precision.probe_image(channels)), "the same each time"
    assert probe.min() >= 0
    assert probe.max() <= 1
    slopes = probe.diff(dim=3).abs()
    assert slopes.max() > 0.3
    assert slopes.median() < 0.1
    assert probe.std((2, 3)).min() > 0.1
