"""Draw a wall of bricks that tiles, for ComfyUI's example of a seamless texture.

Everything is computed on a torus: noise from periodic frequencies, neighbors by `numpy.roll`. So the image wraps around
exactly, and light and shadow cross its edges as they cross any other place.

web/examples/bricks.png is `draw_bricks(np.random.default_rng(3), 256)`.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

FINER = 4
"""Drawn so many times larger and reduced, as a lens does it."""
COURSES, BRICKS = 8, 4
JOINT = 0.075
"""Of the height of a course."""
LIGHT = np.array([-0.5, -0.62, 0.6])
"""Direction towards the sun: left, up, out of the wall."""
CLAY = np.array([[0.33, 0.13, 0.085], [0.26, 0.10, 0.07], [0.38, 0.17, 0.105], [0.19, 0.09, 0.075], [0.42, 0.25, 0.16]])
MORTAR = np.array([0.46, 0.43, 0.385])
"""Reflectances in linear light."""

Plane = NDArray[np.float64]


def draw_bricks(rng: Generator, size: int) -> Image.Image:
    """Return an RGB image of size x size pixels that tiles in both directions."""
    fine = size * FINER
    course, length = fine / COURSES, fine / BRICKS
    y, x = np.mgrid[:fine, :fine] + 0.5
    wobble = 0.02 * course
    y, x = y + wobble * cloud(rng, fine, 1.6), x + wobble * cloud(rng, fine, 1.6)
    row = np.floor(y / course)
    x = x + length / 2 * (row % 2)
    column = np.floor(x / length)
    brick = (row % COURSES * BRICKS + column % BRICKS).astype(int)

    # Distance to the nearest joint, with round corners and worn edges.
    down = course / 2 - np.abs(y - (row + 0.5) * course) - JOINT * course
    along = length / 2 - np.abs(x - (column + 0.5) * length) - JOINT * course
    radius = 0.1 * course
    corner = np.hypot(np.minimum(down - radius, 0), np.minimum(along - radius, 0))
    inside = np.where((down < radius) & (along < radius), radius - corner, np.minimum(down, along))
    inside = inside + 0.025 * course * cloud(rng, fine, 1.3) * (0.5 + rng.random(COURSES * BRICKS)[brick])
    is_brick = smooth(inside / (0.035 * course))

    def each(low: float, high: float) -> Plane:
        return rng.uniform(low, high, COURSES * BRICKS)[brick]

    rough, pits, sand = cloud(rng, fine, 1.1), cloud(rng, fine, 0.6), cloud(rng, fine, 0.35)
    holes = smooth((pits - 1.7) * 3)
    face = 0.35 * rough * each(0.5, 1.5) + 0.16 * sand - 1.6 * holes * each(0, 1)
    tilt = each(-1, 1) * (y - (row + 0.5) * course) / course + each(-1, 1) * (x - (column + 0.5) * length) / length
    high = 7.5 * each(0.75, 1.15) + face + 1.2 * tilt
    low = 0.4 * sand + 0.6 * cloud(rng, fine, 1.0)
    height = FINER / 4 * (low + (high - low) * smooth(inside / (0.075 * course)))

    clay = CLAY[rng.choice(len(CLAY), COURSES * BRICKS, p=[0.36, 0.22, 0.22, 0.12, 0.08])][brick]
    clay = clay * np.exp(rng.normal(0, 0.12, COURSES * BRICKS)[brick] + 0.14 * rough + 0.07 * sand)[..., None]
    burnt = smooth(cloud(rng, fine, 1.5) * 0.8 - each(0.1, 2.5))[..., None]
    clay = clay * (1 - 0.55 * burnt)
    mortar = MORTAR * np.exp(0.07 * sand + 0.12 * cloud(rng, fine, 1.4))[..., None]
    color = mortar + (clay - mortar) * is_brick[..., None]
    lime = smooth((cloud(rng, fine, 1.2) + 0.4 * sand - 1.35) * 1.4)[..., None]
    color = color + 0.35 * lime * (MORTAR - color)
    color = color * np.exp(-0.22 * smooth(cloud(rng, fine, 2.0) - 0.3))[..., None]

    lit = shading(height) * shadow(height) * (0.55 + 0.45 * openness(height, fine))
    linear = color * lit[..., None]
    small = linear.reshape(size, FINER, size, FINER, 3).mean((1, 3)) * 1.4
    encoded = np.where(small <= 0.0031308, 12.92 * small, 1.055 * np.maximum(small, 1e-9) ** (1 / 2.4) - 0.055)
    return Image.fromarray((255 * encoded).clip(0, 255).round().astype(np.uint8))


def cloud(rng: Generator, size: int, exponent: float) -> Plane:
    """Return 1/f^exponent noise (size, size) of mean 0 and variance 1 that wraps around."""
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * np.maximum(radius, 1.5 / size) ** -exponent
    spectrum *= np.exp(-((radius * FINER * 1.2) ** 2))  # finer than the reduced image is lost in any case
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (size, size))
    return field / field.std()


def smooth(value: Plane) -> Plane:
    """Return 0 below 0, 1 above 1, and between them a curve without corners."""
    value = value.clip(0, 1)
    return value * value * (3 - 2 * value)


def shading(height: Plane) -> Plane:
    """Return the light of sun and sky on a surface."""
    across, down = ((np.roll(height, -1, axis) - np.roll(height, 1, axis)) / 2 for axis in (1, 0))
    normal = np.stack([-across, -down, np.full_like(height, 1.6)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return 0.42 + 0.95 * (normal @ (LIGHT / np.linalg.norm(LIGHT))).clip(0, None)


def shadow(height: Plane) -> Plane:
    """Return how much of the sun's light arrives: less behind what is higher towards the sun."""
    hidden = np.zeros_like(height)
    for step in range(1, 17):
        shift = np.round(step * -LIGHT[:2] / np.abs(LIGHT[:2]).max()).astype(int)
        above = np.roll(height, (shift[1], shift[0]), (0, 1)) - height - 0.55 * step
        hidden = np.maximum(hidden, above)
    return 1 - 0.55 * smooth(hidden / 3)


def openness(height: Plane, size: int) -> Plane:
    """Return how much of the sky is seen: joints and holes are dark."""
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    around = np.fft.irfft2(np.fft.rfft2(height) * np.exp(-((radius * 42) ** 2)), height.shape)
    return 1 - smooth((around - height) / 7)
