"""Degrade images as the world does: blur, resampling, noise, sharpening, lossy compression.

Each is off or anything from faint to strong, and those after the resampling come in random order, as in Zhang et al.,
"Designing a practical degradation model for deep blind image super-resolution", ICCV 2021, and Wang et al.,
"Real-ESRGAN", ICCVW 2021. Strong ones are rarer than there: most images that people have are decent. Images are
(H, W, 3) uint8 between the steps, as files are; everything is a function of the generator that is given.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ..video.write.in_memory import through_h264
from .blurs import Kernel, any_kernel, blurred, gaussian

Pixels = NDArray[np.uint8]
Step = Callable[[Generator, Pixels], Pixels]

MARGIN = 12
"""Small pixels around a crop that are degraded with it, so that no step's edges are seen."""

FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def degraded(rng: Generator, small: Pixels, large: Pixels, plain_share: float) -> Pixels:
    """Return a small image as people have it.

    Args:
        rng: decides which steps happen, how strong they are, and their noise.
        small: (H, W, 3), the large image reduced as for a benchmark.
        large: (H * scale, W * scale, 3).
        plain_share: how many have one thing done to them, as most images that people have.

    Returns:
        (H, W, 3).
    """
    if rng.random() < plain_share:
        return plainly_degraded(rng, small)
    image = small if rng.random() < 0.65 else lens_and_resampling(rng, large, small.shape[1], small.shape[0])
    steps: list[Step] = []
    for step, chance in ((noisy, 0.35), (compressed, 0.72), (compressed, 0.12), (sharpened, 0.1)):
        if rng.random() < chance:
            steps.append(step)
    for index in rng.permutation(len(steps)):
        image = steps[index](rng, image)
    return image


def plainly_degraded(rng: Generator, image: Pixels) -> Pixels:
    """Return an image after one JPEG (4:2:0, quality 25 to 95, most often near 45), or with noise of 2 to 14 codes."""
    if rng.random() < 0.8:
        return jpeg(image, round(rng.triangular(25, 45, 95)))
    return gaussian_noise(rng, image, rng.uniform(2, 14))


def lens_and_resampling(rng: Generator, large: Pixels, width: int, height: int) -> Pixels:
    """Return a large image reduced to a size, blurred first or not, by one filter or by two through a size between."""
    scale = large.shape[0] / height
    if rng.random() < 0.65:
        kernel = any_kernel(rng, scale * (0.15 + 0.7 * rng.random() ** 2))
        large = softened(large, kernel)
    image = Image.fromarray(large)
    if rng.random() < 0.25:
        between = rng.uniform(0.7, 0.7 + 0.5 * scale)
        size = (round(width * between), round(height * between))
        image = image.resize(size, FILTERS[rng.integers(len(FILTERS))])
    return np.array(image.resize((width, height), FILTERS[rng.integers(len(FILTERS))]))


def softened(image: Pixels, kernel: Kernel) -> Pixels:
    """Return an image blurred with a kernel."""
    return _rounded(blurred(image.astype(np.float32), kernel))


def noisy(rng: Generator, image: Pixels) -> Pixels:
    """Return an image with Gaussian noise, equal or not in the colors, or with a sensor's."""
    strength = rng.random() ** 1.3
    kind = rng.choice(3, p=[0.5, 0.15, 0.35])
    if kind == 0:
        return gaussian_noise(rng, image, 18 * strength)
    if kind == 1:
        return gaussian_noise(rng, image, 15 * strength, gray=True)
    return sensor_noise(rng, image, strength)


def gaussian_noise(rng: Generator, image: Pixels, sigma: float, *, gray: bool = False) -> Pixels:
    """Return an image with noise of a standard deviation of `sigma` codes; `gray`: the same in all colors."""
    noise = rng.standard_normal((*image.shape[:2], 1 if gray else 3), np.float32)
    return _rounded(image + np.float32(sigma) * noise)


def sensor_noise(rng: Generator, image: Pixels, strength: float) -> Pixels:
    """Return an image with shot and read noise, made in linear light, and blotches of color as after demosaicing.

    Args:
        rng: draws the noise.
        image: (H, W, 3).
        strength: from 0 to 1, where a mid gray has a standard deviation of about 14 codes.
    """
    linear = (image.astype(np.float32) / np.float32(255)) ** np.float32(2.2)
    shot, read = 0.0042 * strength**2 * rng.uniform(0.3, 1.5), 0.012 * strength * rng.uniform(0, 1)
    linear = linear + np.sqrt(shot * linear + read**2).astype(np.float32) * rng.standard_normal(image.shape, np.float32)
    encoded = 255 * linear.clip(0, 1) ** np.float32(1 / 2.2)
    blotches = blurred(rng.standard_normal(image.shape, np.float32), gaussian(rng.uniform(0.6, 1.6)))
    blotches -= blotches.mean(2, keepdims=True)
    return _rounded(encoded + np.float32(14 * strength * rng.uniform(0, 1)) * blotches)


def sharpened(rng: Generator, image: Pixels) -> Pixels:
    """Return an image with halos at its edges, as after an unsharp mask."""
    pixels = image.astype(np.float32)
    soft = blurred(pixels, gaussian(rng.uniform(0.5, 1.8)))
    return _rounded(pixels + np.float32(rng.uniform(0.1, 1.0)) * (pixels - soft))


def compressed(rng: Generator, image: Pixels) -> Pixels:
    """Return an image after JPEG, WebP or H.264, at a quality from 25 to 97."""
    quality = int(rng.integers(25, 98))
    codec = rng.random()
    if codec < 0.04:
        return h264(image, quality)
    if codec < 0.18:
        return webp(image, quality)
    subsampling = str(rng.choice(["4:2:0", "4:4:4", "4:2:2"], p=[0.65, 0.27, 0.08]))
    top, left = rng.integers(0, 16, 2)  # so that a second grid does not lie on the first
    padded = np.pad(image, ((top, 0), (left, 0), (0, 0)), mode="edge")
    return jpeg(padded, quality, subsampling)[top:, left:]


def jpeg(image: Pixels, quality: int, subsampling: str = "4:2:0") -> Pixels:
    """Return an image after baseline JPEG at a quality of Pillow's."""
    return _through_file(image, "JPEG", quality=quality, subsampling=subsampling)


def webp(image: Pixels, quality: int) -> Pixels:
    """Return an image after lossy WebP at a quality of Pillow's."""
    return _through_file(image, "WEBP", quality=quality, method=2)


def h264(image: Pixels, quality: int) -> Pixels:
    """Return an image as a key frame of H.264, with a rate factor from 38 (quality 25) to 16 (quality 97)."""
    return through_h264(image, round(46 - 0.31 * quality))


def _through_file(image: Pixels, format: str, **options: int | str) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    with Image.open(file) as decoded:
        return np.array(decoded.convert("RGB"))


def _rounded(image: NDArray[np.floating]) -> Pixels:
    return image.round().clip(0, 255).astype(np.uint8)
