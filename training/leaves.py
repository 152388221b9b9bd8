"""Dead leaves: opaque shapes of every size that fall on each other, until nothing of the ground is seen.

Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001: with the number of leaves falling as the cube
of their size, such images share the statistics of photographs: edges that stop at other edges, the spectrum, heavy
tails. That networks for restoration can be trained on them alone is from Achddou, Gousseau and Ladjal, "Synthetic
images as a regularity prior for image restoration neural networks", SSVM 2021. Here leaves have shapes, textures and
shading too, because flat discs teach nothing about thin lines, corners and fabrics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .fields import any_field
from .palette import Palette

SHAPES = ("disc", "blob", "polygon", "strip", "star", "curve", "box")
MOST_LEAVES = 24_000


def draw_leaves(rng: Generator, size: int) -> Image.Image:
    """An RGB image of size x size pixels, without antialiasing: it is meant to be reduced."""
    palette = Palette(rng)
    materials = [_material(rng, palette, size // 2) for _ in range(6)]
    canvas = _material(rng, palette, size)
    pen = ImageDraw.Draw(canvas)
    smallest = float(np.exp(rng.uniform(np.log(2.5), np.log(50))))
    largest = size * rng.uniform(0.08, 0.24)
    exponent = rng.uniform(2.3, 3.3)
    chances = rng.dirichlet(np.full(len(SHAPES), 0.4))
    textured, soft = rng.beta(0.8, 1.2), rng.choice([0.0, 0.15], p=[0.7, 0.3])
    alike = rng.beta(1.2, 1.2)  # how near to what lies beneath them small leaves are: things consist of their like
    grain = rng.uniform(0, np.pi) if rng.random() < 0.4 else None  # one direction for all, as in grass or fur

    radii = _power_law(rng, smallest, largest, exponent, size)
    kinds = rng.choice(len(SHAPES), size=len(radii), p=chances)
    places = rng.uniform(-0.05 * size, 1.05 * size, (len(radii), 2))
    for radius, kind, place in zip(radii, kinds, places, strict=True):
        angle = rng.uniform(0, 2 * np.pi) if grain is None else grain + rng.normal(0, 0.2)
        outline = shape(rng, SHAPES[kind], radius, angle) + place
        opacity = 1.0 if radius > size / 16 else 1 - alike * rng.beta(2, 0.7)
        if radius > 7 and rng.random() < textured:
            material = materials[rng.integers(len(materials))]
            _paste(rng, canvas, material, outline, opacity, blur=rng.random() < soft)
        else:
            x, y = np.clip(place, 0, size - 1).astype(int).tolist()
            below: Any = canvas.getpixel((x, y))
            own = palette.color(rng)
            color = tuple(round(b + opacity * (c - b)) for b, c in zip(below, own, strict=True))
            pen.polygon([tuple(p) for p in outline.tolist()], fill=color)
    return canvas


def shape(rng: Generator, kind: str, radius: float, angle: float) -> NDArray[np.float64]:
    """The outline of one leaf around the origin, (points, 2); its area is roughly that of a disc of the radius."""
    count = int(np.clip(radius * 1.5, 10, 64))
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    if kind == "disc":
        squeeze = rng.uniform(0.35, 1)
        points = np.stack([np.cos(turn), squeeze * np.sin(turn)], 1) / np.sqrt(squeeze)
    elif kind == "blob":
        waves = sum(rng.normal(0, 0.35 / k) * np.cos(k * turn + rng.uniform(0, 6.3)) for k in range(2, 6))
        points = np.stack([np.cos(turn), np.sin(turn)], 1) * np.exp(waves)[:, None]
    elif kind == "polygon":
        corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        points = np.stack([np.cos(corners), np.sin(corners)], 1) * 1.2
    elif kind == "star":
        spikes = rng.integers(4, 10)
        turn = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False)
        points = np.stack([np.cos(turn), np.sin(turn)], 1) * np.where(np.arange(2 * spikes) % 2, 0.5, 1.4)[:, None]
    elif kind == "box":
        aspect = np.exp(rng.normal(0, 0.4))
        points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [aspect, 1 / aspect] * 0.9
    else:  # a strip or a curve: something long, of even or tapering width
        length, bend = np.exp(rng.uniform(np.log(2), np.log(8))), rng.normal(0, 0.6) if kind == "curve" else 0.0
        along = np.linspace(-1, 1, 12)
        width = np.minimum(1, 1.6 * (1 - along**2)) if kind == "curve" else np.ones_like(along)
        middle = np.stack([along * length, bend * along**2 * length + 0.2 * bend * np.sin(4 * along)], 1)
        offset = np.stack([-np.gradient(middle[:, 1]), np.gradient(middle[:, 0])], 1)
        offset *= (width / length / np.hypot(*offset.T))[:, None]
        points = np.concatenate([middle + offset, (middle - offset)[::-1]]) * 0.9
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return radius * points @ turned


def _power_law(rng: Generator, smallest: float, largest: float, exponent: float, size: int) -> NDArray[np.float64]:
    """Radii with density r^-exponent, as many as cover the canvas about three times."""
    power = 1 - exponent
    draw = rng.random(MOST_LEAVES)
    radii = (smallest**power + draw * (largest**power - smallest**power)) ** (1 / power)
    covered = np.cumsum(np.pi * radii**2)
    return radii[: int(np.searchsorted(covered, 3 * size**2)) + 1]


def _material(rng: Generator, palette: Palette, size: int) -> Image.Image:
    """A surface: two colors mixed by a field, sometimes with a finer field on top."""
    mix = any_field(rng, size)[..., None]
    color, other = palette.float_color(rng), palette.float_color(rng)
    other = color + (other - color) * rng.choice([1.0, rng.uniform(0.05, 0.5)], p=[0.35, 0.65])
    surface = color + (other - color) * mix
    if rng.random() < 0.4:
        surface = surface * (1 + rng.uniform(0.05, 0.4) * (any_field(rng, size)[..., None] - 0.5))
    return Image.fromarray((255 * surface).clip(0, 255).astype(np.uint8), "RGB")


def _paste(
    rng: Generator,
    canvas: Image.Image,
    material: Image.Image,
    outline: NDArray[np.float64],
    opacity: float,
    blur: bool,
) -> None:
    left, top = np.floor(outline.min(0)).astype(int) - 3
    width, height = np.ceil(outline.max(0)).astype(int) + 4 - (left, top)
    width, height = min(int(width), material.width), min(int(height), material.height)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (outline - (left, top)).tolist()], fill=round(255 * opacity))
    if blur:
        mask = mask.filter(ImageFilter.BoxBlur(float(rng.uniform(1, 6))))
    x, y = (int(rng.integers(0, room + 1)) for room in (material.width - width, material.height - height))
    canvas.paste(material.crop((x, y, x + width, y + height)), (int(left), int(top)), mask)
