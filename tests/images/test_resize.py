"""Resampling against Pillow's, and what linear light and premultiplication are for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.images.resize import resize, resize_with_alpha
from supertile.images.transfer import to_linear, to_srgb
from supertile.inference.resample import resample


@pytest.mark.parametrize("size", [(20, 11), (100, 80), (53, 10), (7, 37), (1, 1), (5, 200)])
def test_resample_is_pillows_antialiased_bicubic(size):
    plane = torch.rand(37, 53, generator=torch.Generator().manual_seed(1))
    expected = np.asarray(Image.fromarray(plane.numpy()).resize(size, Image.Resampling.BICUBIC))
    np.testing.assert_allclose(resample(plane, size).numpy(), expected, atol=1e-6)


def test_transfer_functions_are_inverses_and_meet_the_standards_points():
    x = torch.linspace(0, 1, 65536)
    assert (to_srgb(to_linear(x)) - x).abs().max() < 0.1 / 65535
    codes, light = torch.tensor([0.0, 0.04045, 0.5, 1.0]), torch.tensor([0, 0.0031308, 0.21404, 1])
    torch.testing.assert_close(to_linear(codes), light, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seamless", ["none", "x", "both"])
def test_constant_images_stay_constant(level, seamless):
    out = resize(torch.full((2, 3, 33, 31), level), (17, 90), seamless=seamless)
    assert out.shape == (2, 3, 90, 17)
    assert (out - level).abs().max() < 1e-6


def test_light_is_averaged_not_codes():
    checkerboard = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float()[None, None]
    gray = resize(checkerboard, (16, 16))[0, 0, 4:-4, 4:-4]
    torch.testing.assert_close(gray, torch.full_like(gray, 0.73536), atol=2e-3, rtol=0)  # half the light, not code 0.5


def test_seamless_images_stay_seamless():
    x = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(2))
    for seamless, axis in (("x", -1), ("y", -2)):
        rolled = resize(x.roll(12, axis), (10, 10), seamless=seamless)
        torch.testing.assert_close(rolled, resize(x, (10, 10), seamless=seamless).roll(5, axis), atol=1e-5, rtol=0)
        plain = resize(x.roll(12, axis), (10, 10)) - resize(x, (10, 10)).roll(5, axis)
        assert plain.abs().max() > 0.01


def test_invisible_color_does_not_count():
    color = torch.zeros(1, 3, 40, 40)
    color[:, 1] = 1.0  # green, invisible
    color[:, :, :, :21] = torch.tensor([0.8, 0.0, 0.0])[:, None, None]
    alpha = torch.zeros(1, 1, 40, 40)
    alpha[..., :21] = 1.0
    new_color, new_alpha = resize_with_alpha(color, alpha, (13, 13))
    visible = new_alpha[0, 0] > 1 / 255
    assert visible.any()
    assert new_color[0, 1][visible].max() < 1e-3
    assert (new_color[0, 0][visible] - 0.8).abs().max() < 1e-3
    assert new_alpha[0, 0, :, 0].min() > 1 - 1e-6
    assert new_alpha[0, 0, :, -1].max() == 0.0
