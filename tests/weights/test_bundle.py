"""The bundled networks: found by name, ours, small, and as good as they say."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import spandrel
import torch
from supertile.analysis.fidelity import psnr_y
from supertile.weights.bundle import bundled_for, bundled_models, resolve
from supertile.weights.errors import CheckpointError
from supertile.weights.loader import inspect_checkpoint, load_model

NAMES = ["supertile-2x", "supertile-4x", "supertile-photo-2x", "supertile-photo-4x"]


def test_there_are_two_of_a_scale_and_they_are_small():
    models = bundled_models()
    assert list(models) == NAMES
    assert max(path.stat().st_size for path in models.values()) < 500_000
    for name, scale in zip(NAMES, (2, 4, 2, 4), strict=True):
        info = inspect_checkpoint(name)
        variant = "VapSR (32 channels, 16 blocks)"
        assert (info.family, info.variant, info.scale, info.dtype) == ("VapSR", variant, scale, "fp16")
        assert info.metadata["license"] == "Apache-2.0"
        assert info.metadata["title"] == name
        assert "photograph" in info.metadata["description"]


def test_an_existing_file_counts_more_than_a_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_model("supertile-2x").scale == 2
    shutil.copy(bundled_models()["supertile-4x"], "supertile-2x")
    assert load_model("supertile-2x").scale == 4
    assert str(resolve("none.safetensors")) == "none.safetensors"


@pytest.mark.parametrize(
    ("factor", "name"), [(None, "supertile-4x"), (1.5, "supertile-2x"), (2, "supertile-2x"), (2.5, "supertile-4x")]
)
def test_which_one_serves(factor, name):
    assert bundled_for(factor) == name
    assert bundled_for(factor, degraded=True) == name.replace("supertile", "supertile-photo")


def test_denoise_goes_from_the_one_for_clean_images_to_the_one_for_photos():
    clean, photo = (load_model(name).model.state_dict() for name in ("supertile-2x", "supertile-photo-2x"))
    for name in ("supertile-2x", "supertile-photo-2x"):
        for strength in (0, 0.25, 1):
            blended = load_model(name, denoise=strength).model.state_dict()
            for key, tensor in blended.items():
                torch.testing.assert_close(tensor, (1 - strength) * clean[key] + strength * photo[key])


def test_more_denoising_leaves_less_noise():
    """And between both, no lump: noise of 10 codes on gray, in codes."""
    noise = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 10 / 255
    for name in ("supertile-2x", "supertile-4x"):
        left = []
        for strength in (0, 0.25, 0.5, 0.75, 1):
            with torch.no_grad():
                result = load_model(name, denoise=strength).model(0.5 + noise)
            left.append(result[..., 24:-24, 24:-24].std().item() * 255)
        assert left == sorted(left, reverse=True)
        assert left[-1] < 0.5 * left[0]


def test_denoise_is_for_bundled_networks_and_from_0_to_1(tmp_path):
    copy = shutil.copy(bundled_models()["supertile-4x"], tmp_path / "copy.safetensors")
    with pytest.raises(CheckpointError, match="bundled networks only"):
        load_model(copy, denoise=0.5)
    with pytest.raises(ValueError, match="from 0 to 1"):
        load_model("supertile-4x", denoise=2)


def test_other_programs_open_them(tmp_path):
    """As ComfyUI's own loader does: through spandrel, which knows VapSR once this package was imported."""
    for name, path in bundled_models().items():
        copy = shutil.copy(path, tmp_path / f"{name}.safetensors")
        model = spandrel.ModelLoader().load_from_file(copy)
        assert name.endswith(f"-{model.scale}x")
        with torch.inference_mode():
            assert model(torch.full((1, 3, 12, 10), 0.5)).shape == (1, 3, 12 * model.scale, 10 * model.scale)


PURE = [*itertools.product((0, 0.5, 1), repeat=3)]
OTHERS = [(0.5, 0.5, 0.5), (0, 0, 0), (1, 1, 1), (0.9, 0.2, 0.1), (0.1, 0.3, 0.8)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("colors", "of_photo", "uneven"), [(PURE, 2, 0.7), (OTHERS, 1.6, 0.5)])
def test_flat_areas_stay_flat_and_keep_their_color(name, colors, of_photo, uneven):
    """No checkerboard, no shift. Not at the very edge: there VapSR sees the black that it pads with."""
    descriptor = load_model(name)
    flat = torch.tensor(colors).float()[..., None, None]
    border = 32 * descriptor.scale
    with torch.inference_mode():
        result = descriptor.model(flat.expand(-1, -1, 96, 96))[..., border:-border, border:-border]
    means = result.mean((2, 3), keepdim=True)
    most = of_photo if "photo" in name else 0.8  # codes; black is what noise has left of something a little lighter
    assert (means - flat).abs().max() < most / 255
    assert (result - means).abs().max() < uneven / 255


@pytest.mark.parametrize("name", NAMES)
def test_they_reach_the_figure_in_their_header(image_pairs, read_rgb, name):
    model = load_model(name)
    figures = json.loads(inspect_checkpoint(name).metadata["psnr_y"])
    values = []
    with torch.inference_mode():
        for small, large in image_pairs("Set5", model.scale):
            values.append(psnr_y(model(read_rgb(small)[None])[0], read_rgb(large), model.scale))
    assert np.mean(values) == pytest.approx(figures["Set5"], abs=0.01)
