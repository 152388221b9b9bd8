"""Blur kernels: Gaussian and generalized, of a moving camera, of a lens out of focus. Blurring an image with one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

Kernel = NDArray[np.float32]


def gaussian(sigma: float, other: float | None = None, angle: float = 0.0, exponent: float = 2.0) -> Kernel:
    """Return exp(-r^exponent / 2), where r is the distance in standard deviations.

    Args:
        sigma: standard deviation along `angle`, in pixels.
        other: the one across it; None for the same.
        angle: in radians.
        exponent: 2 for a Gaussian; less gives a sharper peak and longer tails, more a flatter top.

    Returns:
        (size, size), with an odd size and a sum of 1.
    """
    other = sigma if other is None else other
    reach = max(1, int(np.ceil(3 * max(sigma, other))))
    x, y = _grid(reach)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(along / max(sigma, 1e-3), across / max(other, 1e-3))
    return _normalized(np.exp(-0.5 * distance**exponent))


def motion(length: float, angle: float, bend: float = 0.0) -> Kernel:
    """Return the path of a point that moves by `length` pixels along `angle`, off a straight line by `bend` pixels."""
    samples = max(16, int(8 * length))
    along = np.linspace(-0.5, 0.5, samples)
    x, y = along * length, bend * (1 - (2 * along) ** 2 - 2 / 3)
    reach = max(1, int(np.ceil(0.5 * length + abs(bend) + 1)))
    return _splatted(x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), reach)


def defocus(radius: float) -> Kernel:
    """Return a disc of `radius` pixels with an antialiased rim: a point seen by a lens out of focus."""
    x, y = _grid(max(1, int(np.ceil(radius + 0.5))))
    return _normalized(np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def any_kernel(rng: Generator, width: float) -> Kernel:
    """Return a kernel of a random kind whose standard deviation is roughly `width` pixels."""
    kind = rng.choice(5, p=[0.35, 0.25, 0.15, 0.1, 0.15])
    angle = rng.uniform(0, np.pi)
    if kind == 0:
        return gaussian(width)
    if kind == 1:
        return gaussian(width * rng.uniform(1, 1.6), width * rng.uniform(0.2, 1), angle)
    if kind == 2:
        return gaussian(
            width, width * rng.uniform(0.5, 1), angle, exponent=rng.choice([rng.uniform(1, 2), rng.uniform(2, 6)])
        )
    if kind == 3:
        return motion(3.5 * width, angle, bend=width * rng.normal(0, 0.4))
    return defocus(2 * width)


def blurred(image: NDArray[np.float32], kernel: Kernel) -> NDArray[np.float32]:
    """Return an image (H, W, C) convolved with a kernel, its edge repeated."""
    reach = kernel.shape[0] // 2
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[:, None]
    padded = F.pad(planes, (reach,) * 4, mode="replicate")
    taps = torch.from_numpy(kernel[::-1, ::-1].copy())[None, None]
    result = _by_spectrum(padded, taps) if kernel.size > 60 else F.conv2d(padded, taps)
    return np.ascontiguousarray(result[:, 0].numpy().transpose(1, 2, 0))


def _by_spectrum(padded: Tensor, taps: Tensor) -> Tensor:
    """Return what `conv2d` returns, through Fourier space: cheaper for large kernels."""
    height, width = padded.shape[-2:]
    size = taps.shape[-1]
    gain = torch.fft.rfft2(taps.flip(-2, -1), s=(height, width))
    product: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * gain, s=(height, width))
    return product[..., size - 1 :, size - 1 :]


def _grid(reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = np.arange(-reach, reach + 1, dtype=np.float64)
    return axis[None, :], axis[:, None]


def _splatted(x: NDArray[np.float64], y: NDArray[np.float64], reach: int) -> Kernel:
    """Return the bilinear histogram of points around the center."""
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, lower = x - left, y - top
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (lower if dy else 1 - lower) * (right if dx else 1 - right)
        np.add.at(kernel, (top + dy + reach, left + dx + reach), share)
    return _normalized(kernel[:-1, :-1])


def _normalized(kernel: NDArray[np.float64]) -> Kernel:
    return (kernel / kernel.sum()).astype(np.float32)
