"""The figures of the official VapSR files on Set5 and Set14, from picture file to picture.

PSNR of the luma as MATLAB's rgb2ycbcr gives it, of 8-bit pictures, without a border of `scale` pixels. The authors'
repository says, for Set5 and Set14, 32.38 and 28.77 for x4, 32.14 and 28.64 for VapSR-S. The files they publish give
0.00 to 0.03 dB more through a network that equals theirs (arch/test_golden.py), and that is what is asserted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.inference.upscaler import Upscaler
from supertile.weights.loader import load_model

FIGURES = [
    ("VapSR_X2", "Set5", 38.11), ("VapSR_X2", "Set14", 33.74),
    ("VapSR_X3", "Set5", 34.53), ("VapSR_X3", "Set14", 30.52),
    ("VapSR_X4", "Set5", 32.40), ("VapSR_X4", "Set14", 28.77),
    ("VapSR-S", "Set5", 32.17), ("VapSR-S", "Set14", 28.65),
]  # fmt: skip


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 luma in 16..235 of (H, W, 3) in 0..255."""
    return 16 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(a: np.ndarray, b: np.ndarray, border: int) -> float:
    inner = (slice(border, -border), slice(border, -border))
    return float(10 * np.log10(255**2 / np.mean((luma(a) - luma(b))[inner] ** 2)))


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(("name", "pictures", "figure"), FIGURES, ids=[f"{n} {p}" for n, p, _ in FIGURES])
def test_official_files_reach_their_figure(official_vapsr, picture_pairs, read_rgb, name, pictures, figure):
    upscaler = Upscaler(load_model(official_vapsr(f"{name}.pth")), device="cpu", precision="fp32")
    pairs = picture_pairs(pictures, upscaler.scale)
    assert len(pairs) == int(pictures.removeprefix("Set"))
    results = upscaler.stream(read_rgb(small) for small, _ in pairs)
    values = []
    for (_, large), result in zip(pairs, results, strict=True):
        upscaled = (255 * result).round().byte().permute(1, 2, 0).numpy()
        values.append(psnr(upscaled, read(large), upscaler.scale))
    assert np.mean(values) == pytest.approx(figure, abs=0.01)


def test_luma_is_that_of_matlab():
    """rgb2ycbcr of black, white, red, green and blue: 16, 235, 81.481, 144.553, 40.966 before rounding."""
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    assert luma(colours) == pytest.approx([16, 235, 81.481, 144.553, 40.966])
