"""MATLAB's imresize: against the pairs of the benchmarks, which MATLAB made."""

from __future__ import annotations

import pytest
import torch
from supertile.images.imresize import downscale, imresize


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_the_small_images_of_the_benchmarks_come_out_to_the_last_bit(image_pairs, read_rgb, name, scale):
    for small, large in image_pairs(name, scale):
        assert torch.equal(downscale(read_rgb(large), scale), read_rgb(small)), small


def test_enlarging_is_bicubic_and_keeps_flat_areas_flat():
    x = torch.full((3, 5, 7), 100 / 255)
    assert torch.equal(imresize(x, (14, 10)), torch.full((3, 10, 14), 100 / 255))
    step = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])[None, None].expand(1, 8, 8)
    # Keys' weights at distances 1.75, 0.75, 0.25, 1.25: -3/128, 29/128, 111/128, -9/128
    expected = torch.tensor([0, 255 * 26 / 128, 255 * 102 / 128, 255]).add(0.5).floor() / 255
    assert torch.equal(imresize(step, (16, 16))[0, 5, [2, 7, 8, 13]], expected)


def test_a_image_that_cannot_shrink_exactly_is_refused():
    with pytest.raises(ValueError, match="7x6 cannot be shrunk by 2; crop"):
        downscale(torch.zeros(3, 6, 7), 2)
