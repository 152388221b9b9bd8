"""The figures of the official VapSR files on Set5 and Set14, from image file to table.

What is asserted is what the authors' network gives through the metrics of BasicSR, both run beforehand: Y-PSNR, Y-SSIM,
and the same of RGB. The authors' README says 32.38/.8978 and 28.77/.7852 for x4, 32.14/.8951 and 28.64/.7826 for
VapSR-S; the files that they publish give up to 0.03 dB more and 0.0004 less.
"""

from __future__ import annotations

import pytest
from supertile.analysis.evaluate import Method, evaluate, mean_of
from supertile.analysis.published import published
from supertile.inference.upscaler import Upscaler
from supertile.weights.loader import load_model

FIGURES = [
    ("VapSR_X2", "Set5", 38.108479, 0.960871, 35.909527, 0.944090),
    ("VapSR_X3", "Set5", 34.527460, 0.928090, 32.527417, 0.904004),
    ("VapSR_X4", "Set5", 32.402439, 0.897369, 30.483390, 0.867363),
    ("VapSR_X4", "Set14", 28.774149, 0.785214, 26.954415, 0.747612),
    ("VapSR-S", "Set5", 32.168194, 0.894699, 30.261269, 0.864356),
    ("VapSR-S", "Set14", 28.649104, 0.782601, 26.828809, 0.744545),
]  # fmt: skip


@pytest.mark.parametrize(("name", "images", *"abcd"), FIGURES, ids=[f"{n} {p}" for n, p, *_ in FIGURES])
def test_official_files_reach_their_figures(official_vapsr, image_pairs, name, images, a, b, c, d):
    upscaler = Upscaler(load_model(official_vapsr(f"{name}.pth")), device="cpu", precision="fp32")
    folder = image_pairs(images, upscaler.scale)[0][0].parent
    rows = list(evaluate([Method.of(name, upscaler)], folder, folder))
    assert len(rows) == int(images.removeprefix("Set"))
    found = mean_of(rows)
    assert (found.psnr_y, found.psnr_rgb) == pytest.approx((a, c), abs=0.001)
    assert (found.ssim_y, found.ssim_rgb) == pytest.approx((b, d), abs=0.00005)
    for paper in published(images, upscaler.scale):
        if paper.network == name.removesuffix(f"_X{upscaler.scale}"):
            assert found.psnr_y == pytest.approx(paper.psnr_y, abs=0.03)
            assert found.ssim_y == pytest.approx(paper.ssim_y, abs=0.0005)


@pytest.mark.parametrize(("images", "scale"), [("Set5", 2), ("Set5", 3), ("Set5", 4), ("Set14", 4)])
def test_small_images_made_here_are_those_of_the_benchmark(image_pairs, images, scale):
    folder = image_pairs(images, scale)[0][0].parent
    with_files = list(evaluate([Method.bicubic(scale)], folder, folder))
    assert list(evaluate([Method.bicubic(scale)], folder)) == with_files
    assert len(with_files) == int(images.removeprefix("Set"))
