"""PSNR and SSIM: constants, rounding, border, the formula of the paper, and the published figures of bicubic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.analysis.fidelity import ComparisonError, luma, measure, psnr_y
from supertile.analysis.ssim import ssim


def noisy_pair(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    truth = (0.5 + 0.4 * torch.sin(torch.tensor([7.0, 11, 13])[:, None, None] * (x + 2 * y))).clamp(0, 1)
    return (truth + 0.05 * torch.randn(truth.shape, generator=generator)), truth


def test_luma_is_that_of_matlab():
    """rgb2ycbcr of black, white, red, green and blue: 16, 235, 81.481, 144.553, 40.966 before rounding."""
    colors = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]).t()[:, :, None]
    assert luma(colors).flatten().tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])


def test_results_are_rounded_and_clamped_and_their_border_is_cut():
    truth = torch.zeros(3, 15, 15)
    result = torch.full_like(truth, 0.4 / 255)
    result[:, :2] = 1
    result[:, :, -2:] = -3
    assert psnr_y(result, truth, 2) == math.inf
    assert measure(result, truth, 2).identical
    result[:, 4, 4] = 1
    assert psnr_y(result, truth, 2) == pytest.approx(10 * math.log10(255**2 / (219**2 / 121)))
    figures = measure(result, truth, 2)
    assert figures.psnr_y == psnr_y(result, truth, 2)
    assert figures.psnr_rgb == pytest.approx(10 * math.log10(121))
    assert not figures.identical


def test_psnr_of_rgb_is_of_all_values_together():
    """The mean of the squared error over the channels, not of their decibels."""
    result, truth = noisy_pair(20, 24)
    a, b = (np.rint(np.clip(x.double().numpy(), 0, 1) * 255)[:, 3:-3, 3:-3] for x in (result, truth))
    expected = 20 * np.log10(255 / np.sqrt(np.mean((a - b) ** 2)))
    assert measure(result, truth, 3).psnr_rgb == pytest.approx(expected, abs=1e-10)


# --- SSIM --------------------------------------------------------------------------------------------------------


def ssim_of_the_paper(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, equations 13 to 16, window after window as they are written."""
    y, x = np.mgrid[-5:6, -5:6]
    w = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    w /= w.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            p, q = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
            mu_p, mu_q = (w * p).sum(), (w * q).sum()
            var_p, var_q = (w * (p - mu_p) ** 2).sum(), (w * (q - mu_q) ** 2).sum()
            covariance = (w * (p - mu_p) * (q - mu_q)).sum()
            values.append(
                (2 * mu_p * mu_q + c1) * (2 * covariance + c2) / ((mu_p**2 + mu_q**2 + c1) * (var_p + var_q + c2))
            )
    return float(np.mean(values))


def test_ssim_is_the_formula_of_the_paper():
    result, truth = noisy_pair(27, 34)
    codes = [(255 * x.double().clamp(0, 1)).round() for x in (result, truth)]
    expected = [ssim_of_the_paper(a.numpy(), b.numpy()) for a, b in zip(*codes, strict=True)]
    assert [ssim(a, b) for a, b in zip(*codes, strict=True)] == pytest.approx(expected, abs=1e-12)
    assert 0.3 < min(expected) < max(expected) < 0.99
    assert measure(result, truth, 0).ssim_rgb == pytest.approx(np.mean(expected), abs=1e-12)
    inner = [luma(x / 255)[2:-2, 2:-2].numpy() for x in codes]
    assert measure(result, truth, 2).ssim_y == pytest.approx(ssim_of_the_paper(*inner), abs=1e-12)


def test_ssim_of_a_tall_image_is_the_mean_of_its_map():
    """It is computed in strips of rows; the formula knows none."""
    result, truth = noisy_pair(700, 13)
    a, b = (255 * x[0].double() for x in (result, truth))
    assert ssim(a, b) == pytest.approx(ssim_of_the_paper(a.numpy(), b.numpy()), abs=1e-12)


def test_ssim_of_equal_and_of_inverted_images():
    _, truth = noisy_pair(32, 32)
    assert measure(truth, truth, 0).ssim_y == pytest.approx(1)
    assert measure(1 - truth, truth, 0).ssim_y < 0


# --- published ---------------------------------------------------------------------------------------------------

BICUBIC = {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)}


def cubic_matrix(length: int, size: int) -> np.ndarray:
    """MATLAB's imresize along one axis as a matrix, without rounding: Keys' kernel, widened when shrinking."""
    factor = size / length
    center = (np.arange(size)[:, None] + 0.5) / factor - 0.5
    taps = np.floor(center - 2 / min(factor, 1)) + np.arange(math.ceil(4 / min(factor, 1)) + 2)
    x = np.abs(taps - center) * min(factor, 1)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, np.where(x <= 2, far, 0))
    matrix = np.zeros((size, length))
    np.add.at(matrix, (np.arange(size)[:, None], np.clip(taps, 0, length - 1).astype(int)), weights)
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("scale", BICUBIC)
def test_bicubic_has_its_published_figures_on_set5(image_pairs, scale):
    """To the last digit, as the papers measured that have them: luma alone, rounded, shrunk and enlarged in floats."""
    psnrs, ssims = [], []
    for _, large in image_pairs("Set5", scale):
        rgb = torch.from_numpy(np.array(Image.open(large))).movedim(-1, 0) / 255
        truth = luma(rgb).round().numpy()
        height, width = truth.shape
        down, across = cubic_matrix(height, height // scale), cubic_matrix(width, width // scale)
        small = down @ truth @ across.T
        result = cubic_matrix(height // scale, height) @ small @ cubic_matrix(width // scale, width).T
        result = np.clip(np.rint(result), 0, 255)
        a, b = (torch.from_numpy(x)[scale:-scale, scale:-scale] for x in (result, truth))
        psnrs.append(10 * math.log10(255**2 / float((a - b).square().mean())))
        ssims.append(ssim(a, b))
    assert np.mean(psnrs) == pytest.approx(BICUBIC[scale][0], abs=0.005)
    assert np.mean(ssims) == pytest.approx(BICUBIC[scale][1], abs=0.00005)


def test_gray_counts_as_three_equal_channels():
    result, truth = noisy_pair(20, 24)
    gray = measure(result[:1], truth[:1], 2)
    assert gray == measure(result[:1].expand(3, -1, -1), truth[:1].expand(3, -1, -1), 2)
    assert gray.psnr_y - gray.psnr_rgb == pytest.approx(20 * math.log10(255 / 219))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ComparisonError, match="8x8 and 9x8"):
        psnr_y(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9), 2)
    with pytest.raises(ComparisonError, match="nothing is left within a border of 4"):
        psnr_y(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), 4)
    with pytest.raises(
        ComparisonError, match=r"fewer than 11 pixels a side are left within a border of .* an image of 18x30"
    ):
        measure(torch.zeros(3, 30, 18), torch.zeros(3, 30, 18), 4)
    assert measure(torch.zeros(3, 30, 19), torch.zeros(3, 30, 19), 4).identical
