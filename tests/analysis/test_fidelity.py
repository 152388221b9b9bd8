"""PSNR of the luma: the constants, the rounding, the border, and the figure of bicubic on Set5."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from supertile.analysis.fidelity import luma, psnr_y
from supertile.images.imresize import imresize


def test_luma_is_that_of_matlab():
    """rgb2ycbcr of black, white, red, green and blue: 16, 235, 81.481, 144.553, 40.966 before rounding."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]).t()[:, :, None]
    assert luma(colours).flatten().tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])


@pytest.mark.parametrize(("scale", "figure"), [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_bicubic_has_its_published_figure_on_set5(picture_pairs, read_rgb, scale, figure):
    values = []
    for small, large in picture_pairs("Set5", scale):
        truth = read_rgb(large)
        values.append(psnr_y(imresize(read_rgb(small), (truth.shape[2], truth.shape[1])), truth, scale))
    assert np.mean(values) == pytest.approx(figure, abs=0.02)


def test_results_are_rounded_and_clamped_and_their_border_is_cut():
    truth = torch.zeros(3, 8, 8)
    result = torch.full_like(truth, 0.4 / 255)
    result[:, :2] = 1
    result[:, :, -2:] = -3
    assert psnr_y(result, truth, 2) == math.inf
    result[:, 4, 4] = 1
    assert psnr_y(result, truth, 2) == pytest.approx(10 * math.log10(255**2 / (219**2 / 16)))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="8x8 and 9x8"):
        psnr_y(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9), 2)
    with pytest.raises(ValueError, match="nothing is left"):
        psnr_y(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), 4)
