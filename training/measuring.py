"""How good networks are on degraded images: mean PSNR and SSIM of benchmarks beside bicubic.

A benchmark is a folder with `001_HR.png` and `001_LR.png` and so on, the small ones made by MATLAB's bicubic. They are
degraded as people's images are by one thing at a time, so that figures can be compared between networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..analysis.fidelity import codes, inside, luma, psnr_y
from ..analysis.ssim import ssim
from ..images.imresize import imresize
from ..inference.upscaler import Upscaler
from ..weights.bundle import EDGE_MARGIN
from .degradations import Pixels, gaussian_noise, jpeg
from .errors import TrainingError
from .validation import read_rgb

Degradation = Callable[[Pixels], Pixels]


def _unchanged(image: Pixels) -> Pixels:
    return image


def _with_noise(sigma: float, image: Pixels) -> Pixels:
    return gaussian_noise(np.random.default_rng(0), image, sigma)


def _as_jpeg(quality: int, image: Pixels) -> Pixels:
    return jpeg(image, quality)


DEGRADATIONS: dict[str, Degradation] = {
    "clean": _unchanged,
    **{f"JPEG {quality}": partial(_as_jpeg, quality) for quality in (90, 75, 60, 40)},
    **{f"noise {sigma}": partial(_with_noise, sigma) for sigma in (5, 10)},
}


@dataclass(frozen=True)
class Row:
    """Means over a benchmark of one degradation: Y-PSNR in decibels and SSIM of bicubic and of a network."""

    degradation: str
    bicubic: tuple[float, float]
    network: tuple[float, float]


@torch.no_grad()
def rows(net: nn.Module, folder: Path, scale: int) -> Iterator[Row]:
    """Yield a benchmark's figures, one degradation after another.

    Args:
        net: enlarges (1, 3, H, W) in [0, 1]; each image as a whole, fp32.
        folder: with `NNN_HR.png` and `NNN_LR.png`.
        scale: of the network and of the folder's images.

    Raises:
        TrainingError: if the folder holds no such pairs.
    """
    pairs = _pairs(folder)
    for name, degrade in DEGRADATIONS.items():
        figures = []
        for clean, truth in pairs:
            small = _tensor(degrade(_pixels(clean)))
            bicubic = imresize(small, (truth.shape[2], truth.shape[1]))
            figures.append([_fidelity(each, truth, scale) for each in (bicubic, net(small[None])[0])])
        bicubic_mean, network_mean = np.mean(figures, axis=0).tolist()
        yield Row(name, tuple(bicubic_mean), tuple(network_mean))


@torch.no_grad()
def edge_errors(model: ImageModelDescriptor, folder: Path, edges: str) -> list[float]:
    """Return the root mean square error, in codes, in each of the five outermost rings of small pixels.

    Args:
        model: as `load_model` returns it; one that is never continued by the core is continued too for "extend".
        folder: as for `rows`.
        edges: as `Upscaler` takes it.

    Raises:
        TrainingError: if the folder holds no pairs.
    """
    model.model.edge_margin = EDGE_MARGIN
    upscaler, scale = Upscaler(model, device="cpu", precision="fp32", edges=edges), model.scale
    squares: list[list[float]] = []
    for small, truth in _pairs(folder):
        error = (upscaler(small[None])[0] - truth).mul(255).square()
        rings = []
        for _ in range(5):
            inner = error[:, scale:-scale, scale:-scale]
            rings.append(float((error.sum() - inner.sum()) / (error.numel() - inner.numel())))
            error = inner
        squares.append(rings)
    means: list[float] = np.sqrt(np.mean(squares, axis=0)).tolist()
    return means


def _pairs(folder: Path) -> list[tuple[Tensor, Tensor]]:
    """Return the small and large images of a benchmark. Raises TrainingError if there are none."""
    pairs = [(read_rgb(small), read_rgb(small.with_name(small.name.replace("_LR", "_HR"))))
             for small in sorted(folder.glob("*_LR.png"))]  # fmt: skip
    if not pairs:
        raise TrainingError(f"There are no pairs NNN_HR.png and NNN_LR.png in {folder}")
    return pairs


def _fidelity(result: Tensor, truth: Tensor, border: int) -> tuple[float, float]:
    """Return PSNR and SSIM of luma, as papers report them."""
    y, true_y = (luma(inside(codes(image), border) / 255) for image in (result, truth))
    return psnr_y(result, truth, border), ssim(y, true_y)


def _pixels(image: Tensor) -> Pixels:
    pixels: Pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
