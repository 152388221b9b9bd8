"""Masks: the network inside, plain resampling outside, and tiles that are not computed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from supertile import ImageFileError, UpscaleError, Upscaler, chain_models, load_model, upscale_image
from supertile.images.batch import upscale_image_files
from supertile.images.io.picture import Picture
from supertile.images.jobs import FileJob
from supertile.images.mask_file import read_mask
from supertile.images.masks import region_of
from torch import Tensor

TILED = {"device": "cpu", "precision": "fp32", "tile": 64}


@pytest.fixture(scope="module")
def model():
    return load_model("supertile-2x")


def picture(height: int = 200, width: int = 180) -> Picture:
    return Picture(torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255)


def square(height: int = 200, width: int = 180) -> Tensor:
    """A mask of 30x30 pixels."""
    mask = torch.zeros(height, width)
    mask[20:50, 40:70] = 1
    return mask


def off(result: Tensor, source: Tensor) -> float:
    """How far a result that is rounded to 8 bits and reduced is from its source, at most, in codes."""
    codes = result.mul(255).round() / 255
    reduced = F.interpolate(codes[None], source.shape[1:], mode="bicubic", antialias=True)[0]
    return float((reduced - source).abs().max() * 255)


def bicubic(image: Picture, scale: int) -> Tensor:
    return F.interpolate(image.color[None], scale_factor=scale, mode="bicubic", antialias=True)[0].clamp(0, 1)


def test_inside_is_the_network_and_outside_the_resampled_image(model):
    image, upscaler = picture(), Upscaler(model, **TILED)
    result = upscale_image(image, upscaler, mask=square()).color
    tiles = upscaler.stats.tiles_computed
    network = upscale_image(image, upscaler).color
    assert result[:, 40:100, 80:140].equal(network[:, 40:100, 80:140]), "to the bit: it is computed in the same tiles"
    outside = torch.ones(400, 360, dtype=torch.bool)
    outside[2 * 10 : 2 * 60, 2 * 30 : 2 * 80] = False  # the border is less than 10 source pixels wide
    torch.testing.assert_close(result[:, outside], bicubic(image, 2)[:, outside], atol=1e-6, rtol=0)
    assert tiles < (upscaler.stats.tiles_computed - tiles) / 3, "most tiles have nothing of the mask"


def test_the_border_is_a_ramp_between_both(model):
    image, upscaler = picture(), Upscaler(model, **TILED)
    result = upscale_image(image, upscaler, mask=square()).color[:, 70, :]
    network, plain = upscale_image(image, upscaler).color[:, 70, :], bicubic(image, 2)[:, 70, :]
    share = ((result - plain) / (network - plain)).nan_to_num(0)[:, 140:160].median(0).values
    assert (share.diff() <= 1e-3).all(), "falls from the mask outwards"
    assert share[0] > 0.9
    assert share[-1] < 0.1


def test_a_mask_everywhere_changes_nothing(model):
    image = picture(90, 80)
    for options in (TILED, TILED | {"tile": "auto"}):
        upscaler = Upscaler(model, **options)
        assert upscale_image(image, upscaler, mask=torch.ones(3, 3)).color.equal(upscale_image(image, upscaler).color)


def test_an_empty_mask_is_plain_resampling_and_said(model, caplog):
    image, upscaler = picture(), Upscaler(model, **TILED)
    with caplog.at_level(logging.WARNING, "supertile"):
        result = upscale_image(image, upscaler, mask=torch.zeros(10, 10))
    torch.testing.assert_close(result.color, bicubic(image, 2), atol=1e-6, rtol=0)
    assert upscaler.stats.tiles_computed == 0
    assert caplog.messages == ["The mask marks nothing, so the image is resampled, and the model does not run."]


def test_a_mask_of_another_size_is_resized(model):
    image, upscaler = picture(), Upscaler(model, **TILED)
    large = square().repeat_interleave(3, 0).repeat_interleave(3, 1)
    expected = upscale_image(image, upscaler, mask=square()).color
    torch.testing.assert_close(upscale_image(image, upscaler, mask=large).color, expected, atol=0.1, rtol=0)


def test_a_gray_mask_mixes(model):
    image, upscaler = picture(60, 50), Upscaler(model, **TILED)
    result = upscale_image(image, upscaler, mask=torch.full((60, 50), 0.25)).color
    expected = 0.25 * upscale_image(image, upscaler).color + 0.75 * bicubic(image, 2)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", ["4x", "3x"])
def test_several_runs_see_what_they_need_around_the_mask(model, size):
    """A run computes as far beside the mask as the next one reads."""
    image, upscaler = picture(), Upscaler(model, **TILED)
    scale = int(size[0])
    inside = slice(None), slice(20 * scale, 50 * scale), slice(40 * scale, 70 * scale)
    result = upscale_image(image, upscaler, size=size, mask=square()).color[inside]
    computed = upscaler.stats.tiles_computed
    whole = upscale_image(image, upscaler, size=size).color[inside]
    assert (result - whole).abs().max() < 1e-5
    assert computed < (upscaler.stats.tiles_computed - computed) / 2


def test_so_do_the_networks_of_a_chain(model):
    image, upscaler = picture(), Upscaler(chain_models(model, model), **TILED)
    inside = slice(None), slice(80, 200), slice(160, 280)
    result = upscale_image(image, upscaler, mask=square()).color[inside]
    assert (result - upscale_image(image, upscaler).color[inside]).abs().max() < 1e-5


@pytest.mark.parametrize("seamless", ["x", "both"])
def test_a_mask_at_the_edge_of_a_seamless_image(model, seamless):
    image, upscaler = picture(), Upscaler(model, **TILED, seamless=seamless)
    mask = torch.zeros(200, 180)
    mask[:40, :30] = 1
    result, network = (upscale_image(image, upscaler, mask=each).color for each in (mask, None))
    assert result[:, :80, :60].equal(network[:, :80, :60])


def test_transparency_is_masked_too(model):
    image = picture()
    image.alpha = torch.linspace(0.2, 0.8, 180).expand(1, 200, 180).clone()
    upscaler = Upscaler(model, **TILED)
    result, network = (upscale_image(image, upscaler, mask=each) for each in (square(), None))
    assert result.alpha is not None
    assert network.alpha is not None
    assert result.alpha[:, 40:100, 80:140].equal(network.alpha[:, 40:100, 80:140])
    plain = F.interpolate(image.alpha[None], scale_factor=2, mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(result.alpha[:, 200:], plain[:, 200:], atol=1e-6, rtol=0)


def test_strength_and_kept_colors_go_with_a_mask(model):
    image = picture()
    image.color = image.color * 0.3 + 0.3
    upscaler = Upscaler(model, **TILED, strength=0.5, keep_colors=True)
    assert off(upscale_image(image, upscaler, mask=square()).color, image.color) < 0.5


@pytest.mark.parametrize("size", ["1x", "0.5x", "1.5x", "2x", "4x"])
def test_colors_are_kept_at_any_size(model, size):
    """At sizes larger than the source, in the result; else in what is resampled to it."""
    image = picture(48, 40)
    image.color = image.color * 0.3 + 0.3
    result = upscale_image(image, Upscaler(model, **TILED, keep_colors=True), size=size).color
    plain = upscale_image(image, Upscaler(model, **TILED), size=size).color
    assert not result.equal(plain)
    if size in ("1.5x", "2x", "4x"):
        assert off(result, image.color) < (1 if size == "1.5x" else 0.5)


def test_no_strength_is_the_resampled_image_without_the_model(model):
    image, upscaler = picture(), Upscaler(model, **TILED, strength=0)
    torch.testing.assert_close(upscale_image(image, upscaler).color, bicubic(image, 2), atol=1e-6, rtol=0)
    assert upscaler.stats.tiles_computed == 0


def test_images_and_arrays_take_masks_of_any_kind(model):
    upscaler = Upscaler(model, **TILED)
    codes = picture(40, 30).codes(8)
    mask = np.zeros((40, 30), np.uint8)
    mask[:10, :10] = 255
    expected = upscaler(codes, mask=mask)
    assert not np.array_equal(expected, upscaler(codes))
    for other in (mask > 0, torch.from_numpy(mask) / 255, Image.fromarray(mask)):
        assert np.array_equal(upscaler(codes, mask=other), expected)
    assert np.array_equal(np.asarray(upscaler(Image.fromarray(codes), mask=mask)), expected)
    with pytest.raises(UpscaleError, match="a mask is for PIL images and arrays"):
        upscaler(torch.rand(3, 8, 8), mask=mask)


@pytest.mark.parametrize("mask", [torch.zeros(3, 4, 5), torch.zeros(0, 4), torch.full((4, 4), float("nan"))])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(UpscaleError, match="mask"):
        region_of(mask, 8, 8)


# --- files -------------------------------------------------------------------------------------------------------


def test_a_file_is_white_where_the_network_is_wanted(tmp_path):
    Image.fromarray(np.array([[0, 255], [128, 255]], np.uint8)).save(tmp_path / "gray.png")
    torch.testing.assert_close(read_mask(tmp_path / "gray.png"), torch.tensor([[0, 1], [128 / 255, 1]]))
    transparent = np.array([[[255, 255, 255, 0], [255, 255, 255, 255]]], np.uint8)
    Image.fromarray(transparent).save(tmp_path / "alpha.png")
    assert read_mask(tmp_path / "alpha.png").tolist() == [[0, 1]]


def test_many_files_share_a_mask(tmp_path, model, make_image):
    upscaler = Upscaler(model, **TILED)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "mask.png")
    job = FileJob(make_image(tmp_path / "a.png"), tmp_path / "larger.png")
    [outcome] = upscale_image_files([job], upscaler, mask=tmp_path / "mask.png")
    assert outcome.error is None
    assert upscaler.stats.tiles_computed == 0
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"broken\.png"):
        list(upscale_image_files([job], upscaler, mask=tmp_path / "broken.png"))
