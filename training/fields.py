"""Scalar fields that surfaces are made of: stochastic, fractal and periodic textures, gradients.

Each function gives (size, size) float32 in [0, 1] and takes its chance from the generator it is given. Lengths are in
pixels of the canvas that is drawn on, which is several times finer than the image that comes of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]


def any_field(rng: Generator, size: int) -> Field:
    """One of the fields below."""
    makers: tuple[Callable[[Generator, int], Field], ...] = (cloud, stripes, weave, spots, labyrinth, gradient, grain)
    chances = np.array([0.24, 0.2, 0.12, 0.06, 0.12, 0.16, 0.1])
    return makers[rng.choice(len(makers), p=chances)](rng, size)


def cloud(rng: Generator, size: int) -> Field:
    """1/f noise, as natural textures have it; sometimes drawn out along one direction as in wood, fur and hair."""
    radius = _frequencies(rng, size, stretch=rng.choice([1.0, rng.uniform(2, 12)], p=[0.6, 0.4]))
    exponent = rng.uniform(0.7, 2.2)
    return _normalized(_filtered(rng, size, np.maximum(radius, 1 / size) ** -exponent))


def labyrinth(rng: Generator, size: int) -> Field:
    """Noise of one wavelength without a direction, soft or cut hard: coral, animal skins, leather."""
    wavelength = rng.uniform(8, 64)
    radius = _frequencies(rng, size, stretch=rng.uniform(1, 3)) * wavelength
    field = _filtered(rng, size, np.exp(-(((radius - 1) / 0.25) ** 2)))
    return _cut(rng, field / (field.std() + 1e-6))


def grain(rng: Generator, size: int) -> Field:
    """Noise without structure above a size of a few pixels: sand, plaster, lawn from afar."""
    radius = _frequencies(rng, size, stretch=1.0)
    return _normalized(_filtered(rng, size, np.exp(-((radius * rng.uniform(4, 16)) ** 2))))


def stripes(rng: Generator, size: int) -> Field:
    """A wave, smooth or with hard edges, straight or bent: cloth, blinds, feathers, zebras."""
    return _cut(rng, _wave(rng, size, _wavelength(rng)))


def weave(rng: Generator, size: int) -> Field:
    """Two crossing waves: checks, tiles, nets, cloth."""
    wavelength = _wavelength(rng)
    angle = rng.uniform(0, np.pi)
    a = _wave(rng, size, wavelength, angle)
    b = _wave(rng, size, wavelength * rng.choice([1.0, rng.uniform(0.5, 2)]), angle + np.pi / 2)
    return _cut(rng, (a * b, np.maximum(a, b), a + b)[rng.integers(3)])


def spots(rng: Generator, size: int) -> Field:
    """Dots on a lattice."""
    wavelength, angle = _wavelength(rng), rng.uniform(0, np.pi)
    a, b = (_wave(rng, size, wavelength, angle + turn) for turn in (0.0, np.pi / 2))
    return _cut(rng, (a + b - rng.uniform(0.2, 1.2)) * 2)


def gradient(rng: Generator, size: int) -> Field:
    """Shading: linear, or around a point as on something round."""
    x, y = _grid(size)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        return _normalized(x * np.cos(angle) + y * np.sin(angle))
    distance = np.hypot(x - rng.uniform(0, size), y - rng.uniform(0, size)) / size
    return _normalized(np.exp(-((distance * rng.uniform(0.5, 3)) ** 2)))


def _wavelength(rng: Generator) -> float:
    return float(np.exp(rng.uniform(np.log(5), np.log(70))))


def _wave(rng: Generator, size: int, wavelength: float, angle: float | None = None) -> Field:
    x, y = _grid(size)
    angle = rng.uniform(0, np.pi) if angle is None else angle
    phase = (x * np.cos(angle) + y * np.sin(angle)) / wavelength + rng.random()
    if rng.random() < 0.5:
        bend = _filtered(rng, size, np.maximum(_frequencies(rng, size, 1.0), 1 / size) ** -2.2)
        phase += _normalized(bend) * rng.uniform(0, 0.12) * size / wavelength
    return np.sin(2 * np.pi * phase, dtype=np.float32)


def _cut(rng: Generator, field: Field) -> Field:
    """Anything from the smooth field itself to its sign."""
    hardness = rng.choice([0.5, rng.uniform(1, 3), rng.uniform(3, 30)])
    return (0.5 + 0.5 * np.tanh(hardness * field) / np.tanh(hardness * 1.5)).clip(0, 1).astype(np.float32)


def _grid(size: int) -> tuple[Field, Field]:
    axis = np.arange(size, dtype=np.float32)
    return axis[None, :], axis[:, None]


def _frequencies(rng: Generator, size: int, stretch: float) -> Field:
    """Distance from zero frequency, in waves per pixel, with one direction counting `stretch` times."""
    angle = rng.uniform(0, np.pi)
    fx = np.fft.rfftfreq(size).astype(np.float32)[None, :]
    fy = np.fft.fftfreq(size).astype(np.float32)[:, None]
    along, across = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    return np.hypot(along * stretch, across).astype(np.float32)


def _filtered(rng: Generator, size: int, gain: NDArray[np.floating]) -> Field:
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)) * gain
    return np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)


def _normalized(field: Field) -> Field:
    """Onto [0, 1], by the range that holds nearly all of it."""
    low, high = np.percentile(field[::4, ::4], (0.5, 99.5))
    return ((field - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)
