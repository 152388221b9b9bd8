"""What tiles cost, against tiles joined and compared here."""

from __future__ import annotations

import math

import pytest
import torch
from supertile.analysis.seams import SeamCheck
from supertile.inference import UpscaleError, Upscaler
from supertile.weights.loader import load_model


@pytest.fixture(scope="module")
def checked(official_vapsr, image_pairs, read_rgb):
    model = load_model(official_vapsr("VapSR_X4.pth"))
    image = read_rgb(image_pairs("Set5", 4)[0][0])[:, :60, :100]
    return model, image, SeamCheck(model, image, 64, device="cpu", precision="fp32")


def test_figures_are_those_of_the_difference(checked):
    model, image, check = checked
    whole = Upscaler(model, device="cpu", precision="fp32", tile="whole")(image[None])[0]
    tiled = Upscaler(model, device="cpu", precision="fp32", tile=64, overlap=4)(image[None])[0]
    found = check.measure(4)
    difference = (tiled - whole).abs().double()
    assert found.largest == pytest.approx(255 * difference.max().item(), rel=1e-4)
    assert found.mean == pytest.approx(255 * difference.amax(0).mean().item(), rel=1e-4)
    assert found.psnr == pytest.approx(-10 * math.log10(difference.square().mean().item()), abs=0.01)
    assert (found.tiles, found.overlap) == (2, 4)
    at = divmod(int(found.error.argmax()), found.error.shape[1])
    assert 0.25 < at[1] / found.error.shape[1] < 0.75  # in the middle, where the tiles meet


def test_the_smallest_overlap_is_what_trying_all_of_them_finds(checked):
    model, image, check = checked
    whole = Upscaler(model, device="cpu", precision="fp32", tile="whole")(image[None])[0]
    errors = {}
    for overlap in (0, 4, 8, 12, 16, 20):  # three of 20 are less than a tile of 64
        tiled = Upscaler(model, device="cpu", precision="fp32", tile=64, overlap=overlap)(image[None])[0]
        errors[overlap] = 255 * (tiled - whole).abs().max().item()
    assert check.overlaps() == list(errors)
    for below in (20, 3, 1):
        expected = next((overlap for overlap, error in errors.items() if error < below), None)
        found = check.smallest(below)
        assert (found and found.overlap) == expected
    assert check.smallest(1e-9) is None


def test_a_image_in_one_tile_has_no_seams_to_check(enlarger):
    with pytest.raises(UpscaleError, match="an image of 20x16 is a single tile of 64"):
        SeamCheck(enlarger(), torch.rand(3, 16, 20), 64, device="cpu")


def test_tiles_of_a_network_that_looks_at_one_pixel_are_exact(enlarger):
    found = SeamCheck(enlarger(), torch.rand(3, 90, 120), 40, device="cpu").measure(0)
    assert found.largest <= 255 * 2e-7
    assert found.psnr > 130
