"""Strength and kept colors, compared with plain interpolation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from supertile.inference.errors import UpscaleError
from supertile.inference.finish import keep_colors, mix
from supertile.inference.upscaler import Upscaler
from torch import Tensor

CODE = 1 / 255


def photo(height: int = 60, width: int = 52, channels: int = 3) -> Tensor:
    """Waves, edges and noise, in codes of 8 bits, neither black nor white."""
    seed = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = torch.stack([0.5 + 0.3 * torch.sin((9 + c) * x + 14 * y) for c in range(channels)])
    edges = torch.where((8 * x + 5 * y).sin() > 0.6, 0.3 + 0.4 * (y > 0.5), waves)
    return (edges + 0.03 * torch.randn(edges.shape, generator=seed)).clamp(0, 1).mul(255).round() / 255


def bicubic(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image[None], (height, width), mode="bicubic", antialias=True)[0].clamp(0, 1)


def off(result: Tensor, source: Tensor) -> float:
    """How far a result that is stored with 8 bits and reduced is from its source, at most, in codes."""
    return float((bicubic(result.mul(255).round() / 255, *source.shape[1:]) - source).abs().max() / CODE)


def text(height: int, width: int) -> Tensor:
    """Black strokes on white and white ones on black, without any gray."""
    seed = torch.Generator().manual_seed(0)
    page = torch.ones(1, height, width)
    page[:, height // 2 :, width // 2 :] = 0
    for y in range(8, height - 24, 24):
        for x in range(8, width - 16, 16):
            strokes = torch.rand(4, generator=seed) > 0.4
            ink = 1 - page[0, y, x]
            for stroke, (down, right, high, wide) in zip(
                strokes, ((0, 0, 18, 3), (0, 0, 3, 11), (8, 0, 3, 11), (0, 9, 18, 2)), strict=True
            ):
                if stroke:
                    page[:, y + down : y + down + high, x + right : x + right + wide] = ink
    return page


def test_strength_mixes_in_the_bicubic_image():
    source, result = photo(), torch.rand(3, 120, 104)
    expected = 0.7 * result + 0.3 * bicubic(source, 120, 104)
    torch.testing.assert_close(mix(result, source, 0.7), expected, atol=1e-6, rtol=0)
    assert mix(result, source, 1.0).equal(result)
    torch.testing.assert_close(mix(result, source, 0.0), bicubic(source, 120, 104), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["network", "darker", "flat"])
def test_a_result_with_kept_colors_reduces_to_its_source(scale, kind):
    source = photo()
    height, width = scale * 60, scale * 52
    seed = torch.Generator().manual_seed(1)
    result = {
        "network": bicubic(source, height, width) + 0.03 * torch.randn(3, height, width, generator=seed),
        "darker": bicubic(source, height, width) * 0.8,
        "flat": torch.full((3, height, width), 0.5),
    }[kind].clamp(0, 1)
    assert off(result, source) > 3
    kept = keep_colors(result, source)
    assert off(kept, source) < 0.5
    assert kept.min() >= 0
    assert kept.max() <= 1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_black_and_white_places_of_a_photo_reduce_to_their_source(scale):
    """Pixels that are black or white already cannot be corrected further; the others around take their part."""
    contrasty = ((photo(240, 208) - 0.5) * 1.95 + 0.5).clamp(0, 1)
    source = bicubic(contrasty, 60, 52).mul(255).round() / 255
    assert min((source == 0).sum(), (source == 1).sum()) > 300
    kept = keep_colors(bicubic(source, scale * 60, scale * 52) * 0.9 + 0.02, source)
    assert off(kept, source) < 0.5


@pytest.mark.parametrize("scale", [3, 4])
def test_text_reduces_to_its_source(scale):
    """Nearly all pixels are black or white, so a few beside the strokes have to take what is missing."""
    page = bicubic(text(480, 576), 240, 288)
    source = bicubic(page, 240 // scale, 288 // scale).mul(255).round() / 255
    kept = keep_colors(bicubic(source, 240, 288), source)
    assert off(kept, source) < 0.5
    assert (kept - page).square().mean() < (bicubic(source, 240, 288) - page).square().mean()


@pytest.mark.parametrize("size", [(150, 130), (143, 121), (211, 104), (90, 78)])
def test_any_larger_size_does(size):
    source, most = photo(), 0.5 if size[0] >= 120 else 1.0  # below twice the size, rounding leaves little choice
    assert off(keep_colors(bicubic(source, *size) * 0.9, source), source) < most


def test_more_bits_are_kept_more_exactly():
    source = photo()
    kept = keep_colors(bicubic(source, 120, 104) * 0.9, source, eight_bits=False)
    reduced = F.interpolate(kept[None], (60, 52), mode="bicubic", antialias=True)[0]
    assert (reduced - source).abs().max() < 0.06 * CODE


@pytest.mark.parametrize("scale", [2, 3])
def test_hard_black_and_white_come_as_near_as_they_can(scale):
    source = (torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    result = bicubic(source, scale * 40, scale * 40)
    kept = keep_colors(result, source)
    assert kept.min() >= 0
    assert kept.max() <= 1
    errors = [(bicubic(each, 40, 40) - source).abs().mean() for each in (kept, result)]
    assert errors[0] < 0.9 * errors[1]


def test_what_has_no_solution_leaves_its_surroundings_alone():
    """One white pixel on black stays 28 codes off in any image; nothing farther away turns gray for it."""
    source = torch.zeros(1, 40, 40)
    source[:, 20, 20] = 1
    kept = keep_colors(bicubic(source, 160, 160), source)
    assert 28 < off(kept, source) < 75
    kept[:, 4 * 17 : 4 * 24, 4 * 17 : 4 * 24] = 0
    assert kept.max() < 4 * CODE


def test_what_reduces_to_its_source_already_hardly_changes():
    large = photo(120, 104)
    source = bicubic(large, 60, 52)
    assert (keep_colors(large, source, eight_bits=False) - large).abs().max() < 1e-3


def test_the_correction_is_smooth():
    """A wave that the network has lost comes back as a wave, not as blocks."""
    x = torch.linspace(0, 12, 60)
    source = (0.5 + 0.3 * torch.sin(x)).expand(1, 60, 60)
    kept = keep_colors(torch.full((1, 240, 240), 0.5), source)
    expected = bicubic(source, 240, 240)
    assert (kept - expected)[:, 8:-8, 8:-8].abs().max() < 0.01


def test_the_correction_is_local():
    """Another source in one place changes nothing elsewhere, so no part of an image or frame moves another's colors."""
    source = photo(160, 150)
    result = bicubic(source, 320, 300) * 0.9
    changed = source.clone()
    changed[:, 80, 75] = 1 - changed[:, 80, 75]
    difference = (keep_colors(result, source) - keep_colors(result, changed)).abs().amax(0)
    difference[2 * 40 : 2 * 120, 2 * 35 : 2 * 115] = 0
    assert difference.max() == 0


@pytest.mark.parametrize("axis", ["x", "y", "both"])
def test_seamless_images_wrap_around(axis):
    source, result = photo(24, 20), torch.rand(3, 48, 40)
    shift = {"x": (0, 7), "y": (5, 0), "both": (5, 7)}[axis]
    rolled = keep_colors(
        result.roll([2 * s for s in shift], (1, 2)), source.roll(shift, (1, 2)), seamless=axis, eight_bits=False
    )
    expected = keep_colors(result, source, seamless=axis, eight_bits=False).roll([2 * s for s in shift], (1, 2))
    torch.testing.assert_close(rolled, expected, atol=1e-5, rtol=0)


# --- in an Upscaler ----------------------------------------------------------------------------------------------


def test_the_defaults_change_nothing(vapsr):
    image = photo()[None]
    plain = Upscaler(vapsr, device="cpu", precision="fp32")
    given = Upscaler(vapsr, device="cpu", precision="fp32", strength=1.0, keep_colors=False)
    assert given(image).equal(plain(image))
    assert given.identity() == plain.identity()
    assert {"strength", "keep-colors"}.isdisjoint(plain.identity()), "so that earlier jobs are continued"


def test_an_upscaler_finishes_its_results(vapsr):
    images = torch.stack([photo(), photo().flip(1)])
    plain = Upscaler(vapsr, device="cpu", precision="fp32")
    both = Upscaler(vapsr, device="cpu", precision="fp32", strength=0.5, keep_colors=True)
    results = both(images)
    for image, result, network in zip(images, results, plain(images), strict=True):
        assert result.equal(keep_colors(mix(network, image, 0.5), image))
    assert both.network(images).equal(plain(images))
    assert both.identity() == plain.identity() | {"strength": "0.5", "keep-colors": "True"}


def test_tiles_leave_no_seams_in_kept_colors(vapsr):
    image = photo(120, 100)[None]
    results = [
        Upscaler(vapsr, device="cpu", precision="fp32", tile=tile, keep_colors=True)(image) for tile in (48, "whole")
    ]
    torch.testing.assert_close(*results, atol=1.5 * CODE, rtol=0)
    assert all(off(result[0], image[0]) < 0.5 for result in results)


def test_images_whose_memory_is_filled_again_keep_their_colors(vapsr):
    upscaler = Upscaler(vapsr, device="cpu", precision="fp32", tile=64, batch=8, keep_colors=True)
    buffer = torch.empty(3, 60, 52)

    def images():
        for number in range(3):
            yield buffer.copy_(photo().roll(number * 7, 2))

    results = list(upscaler.stream(images()))
    for number, result in enumerate(results):
        assert off(result, photo().roll(number * 7, 2)) < 0.5


def test_wrong_values_are_refused(vapsr, enlarger):
    with pytest.raises(ValueError, match="strength is a number from 0 to 1, not 2"):
        Upscaler(vapsr, strength=2)
    with pytest.raises(UpscaleError, match="one of scale 1 would return the source; leave it out"):
        Upscaler(enlarger(1), device="cpu", keep_colors=True)
