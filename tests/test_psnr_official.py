"""The figures of the official VapSR files on Set5 and Set14, from picture file to picture.

PSNR of the luma as MATLAB's rgb2ycbcr gives it, of 8-bit pictures, without a border of `scale` pixels. The authors'
repository says, for Set5 and Set14, 32.38 and 28.77 for x4, 32.14 and 28.64 for VapSR-S. The files they publish give
0.00 to 0.03 dB more through a network that equals theirs (arch/test_golden.py), and that is what is asserted.
"""

from __future__ import annotations

import numpy as np
import pytest
from supertile.analysis.fidelity import psnr_y
from supertile.inference.upscaler import Upscaler
from supertile.weights.loader import load_model

FIGURES = [
    ("VapSR_X2", "Set5", 38.11), ("VapSR_X2", "Set14", 33.74),
    ("VapSR_X3", "Set5", 34.53), ("VapSR_X3", "Set14", 30.52),
    ("VapSR_X4", "Set5", 32.40), ("VapSR_X4", "Set14", 28.77),
    ("VapSR-S", "Set5", 32.17), ("VapSR-S", "Set14", 28.65),
]  # fmt: skip


@pytest.mark.parametrize(("name", "pictures", "figure"), FIGURES, ids=[f"{n} {p}" for n, p, _ in FIGURES])
def test_official_files_reach_their_figure(official_vapsr, picture_pairs, read_rgb, name, pictures, figure):
    upscaler = Upscaler(load_model(official_vapsr(f"{name}.pth")), device="cpu", precision="fp32")
    pairs = picture_pairs(pictures, upscaler.scale)
    assert len(pairs) == int(pictures.removeprefix("Set"))
    results = upscaler.stream(read_rgb(small) for small, _ in pairs)
    values = []
    for (_, large), result in zip(pairs, results, strict=True):
        values.append(psnr_y(result, read_rgb(large), upscaler.scale))
    assert np.mean(values) == pytest.approx(figure, abs=0.01)
