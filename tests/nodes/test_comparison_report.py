"""The report of Compare Images, and the pairs of images that it compares."""

from __future__ import annotations

import math

import pytest
from supertile.analysis.fidelity import Fidelity
from supertile.inference.errors import UpscaleError
from supertile.nodes.comparison_report import paired, report

ONE, OTHER = Fidelity(30, 0.8, 28, 0.7), Fidelity(32, 0.9, 31, 0.9)


def test_one_image_has_one_line():
    assert report([ONE]) == "Y 30.00 dB, SSIM 0.8000; RGB 28.00 dB, SSIM 0.7000"


def test_several_images_have_a_line_each_and_the_mean():
    assert report([ONE, OTHER, Fidelity(math.inf, 1, math.inf, 1)]).splitlines() == [
        "1: Y 30.00 dB, SSIM 0.8000; RGB 28.00 dB, SSIM 0.7000",
        "2: Y 32.00 dB, SSIM 0.9000; RGB 31.00 dB, SSIM 0.9000",
        "3: equal: no pixel differs",
        "mean: Y inf dB, SSIM 0.9000; RGB inf dB, SSIM 0.8667",
    ]
    assert report([ONE, OTHER]).splitlines()[-1] == "mean: Y 31.00 dB, SSIM 0.8500; RGB 29.50 dB, SSIM 0.8000"


def test_batches_are_paired_image_by_image_or_with_the_only_one():
    assert [paired(*counts) for counts in ((1, 1), (3, 3), (4, 1), (1, 5))] == [1, 3, 4, 5]
    for counts in ((2, 3), (0, 1), (0, 0)):
        with pytest.raises(UpscaleError, match="cannot be paired"):
            paired(*counts)
