"""Draw text, line art and diagrams: thin strokes, corners, parallel lines, flat areas that stay flat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from .leaves import SHAPES, shape
from .palette import Palette, PureColors
from .typefaces import any_typeface, font
from .words import any_word

_HEIGHTS = 24, 170
"""Of letters in pixels of a scene, so that many can still be read where its image is reduced by 2 or by 4."""
_SMALL_HEIGHTS = 60, 140


def draw_text(rng: Generator, size: int, typefaces: Sequence[Path]) -> Image.Image:
    """Blocks of words of every size, some turned, on a few areas of color, in Pillow's typeface and `typefaces`."""
    palette = Palette(rng)
    canvas = Image.new("RGB", (size, size), palette.color(rng))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(0, 8))):
        _panel(rng, pen, palette, size)
    for _ in range(int(rng.integers(6, 24))):
        letters = font(any_typeface(rng, typefaces), int(np.exp(rng.uniform(np.log(18), np.log(160)))))
        lines = "\n".join(" ".join(any_word(rng) for _ in range(rng.integers(2, 9))) for _ in range(rng.integers(1, 9)))
        box = pen.multiline_textbbox((0, 0), lines, font=letters)
        mask = Image.new("L", (int(box[2]) + 4, int(box[3]) + 4))
        ImageDraw.Draw(mask).multiline_text((0, 0), lines, font=letters, fill=255)
        mask = mask.crop((0, 0, min(mask.width, size), min(mask.height, size)))
        if rng.random() < 0.4:
            mask = mask.rotate(float(rng.choice([90.0, rng.uniform(-45, 45)])), Image.Resampling.BILINEAR, expand=True)
        place = (int(rng.integers(-size // 8, size)), int(rng.integers(-size // 8, size)))
        if rng.random() < 0.5:
            canvas.paste(palette.color(rng), (*place, place[0] + mask.width, place[1] + mask.height))
        canvas.paste(palette.color(rng), place, mask)
    return canvas


def draw_print(rng: Generator, size: int, typefaces: Sequence[Path] = ()) -> Image.Image:
    """Return a page in small print: letters of 5 to 12 pixels where it is reduced by 4."""
    return draw_page(rng, size, typefaces, _SMALL_HEIGHTS)


def draw_page(
    rng: Generator, size: int, typefaces: Sequence[Path] = (), heights: tuple[float, float] = _HEIGHTS
) -> Image.Image:
    """Return a page as it is scanned or shown on a screen: lines of text in a few sizes, rules, boxes, dark on light.

    One typeface per page, Pillow's or one of `typefaces`, changed in weight, width and slant; the body of the text has
    one of `heights` in pixels of the scene.
    """
    typeface = any_typeface(rng, typefaces)
    paper, ink = _paper_and_ink(rng)
    canvas = Image.new("RGB", (size, size), paper)
    pen = ImageDraw.Draw(canvas)
    weight, width, slant = int(rng.integers(0, 3)), rng.uniform(0.75, 1.2), rng.choice([0.0, rng.uniform(-0.1, 0.3)])
    body = float(np.exp(rng.uniform(*np.log(heights))))
    y, indent = rng.uniform(-body, body), rng.uniform(0, 0.1) * size
    while y < size:
        heading = rng.random() < 0.12
        height = body * rng.uniform(1.3, 2.2) if heading else body
        color = ink if rng.random() < 0.85 else tuple(int(v) for v in rng.integers(0, 200, 3))
        text = " ".join(any_word(rng, prose=True) for _ in range(int(rng.integers(2, 5 if heading else 24))))
        line = _typeset(text, font(typeface, height), weight + heading, width, slant)
        canvas.paste(color, (int(indent), int(y)), line)
        y += height * rng.uniform(1.15, 1.5) * rng.choice([1.0, rng.uniform(1.5, 3)], p=[0.85, 0.15])
        if rng.random() < 0.08:
            pen.line([(indent, y), (size * rng.uniform(0.3, 1), y)], fill=color, width=int(rng.integers(2, 9)))
            y += 0.4 * body
    return (
        canvas
        if rng.random() < 0.6
        else canvas.rotate(float(rng.normal(0, 2)), Image.Resampling.BICUBIC, fillcolor=paper)
    )


def draw_lines(rng: Generator, size: int) -> Image.Image:
    """Line art: outlines of shapes, hatching, fans, rings, curves, of widths from a hair to a bar."""
    palette = Palette(rng)
    canvas = Image.new("RGB", (size, size), palette.color(rng))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(30, 140))):
        width = int(np.exp(rng.uniform(np.log(2), np.log(24))))
        color = palette.color(rng)
        x, y = rng.uniform(0, size, 2)
        reach = float(np.exp(rng.uniform(np.log(0.03), np.log(0.4)))) * size
        kind = rng.integers(5)
        if kind == 0:
            outline = shape(rng, str(rng.choice(SHAPES)), reach, rng.uniform(0, 6.3)) + np.array([x, y])
            points = [tuple(p) for p in outline.tolist()]
            if rng.random() < 0.7:
                pen.polygon(points, fill=palette.color(rng))
            pen.line([*points, points[0]], fill=color, width=width, joint="curve")
        elif kind == 1:  # hatching
            angle, gap = rng.uniform(0, np.pi), width * rng.uniform(1.5, 5)
            along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
            for k in range(int(min(reach / gap, 60))):
                start = np.array([x, y]) + across * gap * k
                pen.line([tuple(start), tuple(start + along * reach)], fill=color, width=width)
        elif kind == 2:  # a fan, as in resolution charts
            for angle in np.linspace(0, 2 * np.pi, int(rng.integers(8, 90)), endpoint=False):
                pen.line([(x, y), (x + reach * np.cos(angle), y + reach * np.sin(angle))], fill=color, width=width)
        elif kind == 3:  # rings
            gap = width * rng.uniform(1.5, 5)
            for k in range(1, int(min(reach / gap, 40))):
                pen.ellipse((x - k * gap, y - k * gap, x + k * gap, y + k * gap), outline=color, width=width)
        else:  # a curve that wanders
            steps = np.cumsum(rng.normal(0, reach / 12, (40, 2)).cumsum(0) * 0.3, 0) + np.array([x, y])
            pen.line([tuple(p) for p in steps.tolist()], fill=color, width=width, joint="curve")
    return canvas


def draw_graphics(rng: Generator, size: int, typefaces: Sequence[Path]) -> Image.Image:
    """Plain graphics as logos, diagrams and screens have them: panels, shapes, bars and lettering in pure colors."""
    palette = PureColors(rng)
    canvas = Image.new("RGB", (size, size), palette.color(rng))
    pen = ImageDraw.Draw(canvas)
    for kind in rng.integers(0, 4, int(rng.integers(1, 14))):
        x, y = rng.uniform(-0.1, 0.9, 2) * size
        reach = float(np.exp(rng.uniform(np.log(0.04), np.log(0.5)))) * size
        if kind == 0:
            _panel(rng, pen, palette, size)
        elif kind == 1:
            outline = shape(rng, str(rng.choice(SHAPES)), reach, rng.uniform(0, 6.3)) + np.array([x, y])
            pen.polygon([tuple(p) for p in outline.tolist()], fill=palette.color(rng))
        elif kind == 2:  # a bar chart, or stripes where all are as high
            count, gap = int(rng.integers(3, 16)), rng.uniform(1, 2)
            heights = reach * rng.uniform(rng.choice([0.1, 1.0]), 1, count)
            for left, height in zip(x + reach / count * gap * np.arange(count), heights, strict=True):
                pen.rectangle((left, y + reach - height, left + reach / count, y + reach), fill=palette.color(rng))
        else:
            text = " ".join(any_word(rng) for _ in range(int(rng.integers(1, 5))))
            letters = font(any_typeface(rng, typefaces), max(24, reach / 3))
            pen.text((x, y), text, fill=palette.color(rng), font=letters)
    return canvas


def _paper_and_ink(rng: Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two colors far apart: mostly near white and near black, sometimes the other way around, sometimes tinted."""
    light, dark = int(255 - abs(rng.normal(0, 14))), int(abs(rng.normal(0, 40)))
    tint = rng.normal(0, rng.choice([0.0, 8.0]), 3)
    paper, ink = (tuple(int(v) for v in np.clip(level + tint, 0, 255)) for level in (light, dark))
    return (paper, ink) if rng.random() < 0.8 else (ink, paper)


def _typeset(text: str, type_: ImageFont.FreeTypeFont, weight: int, width: float, slant: float) -> Image.Image:
    """Return a mask of one line of text: `weight` pixels bolder, `width` times as wide, leaning by `slant`."""
    _, top, right, bottom = (int(v) for v in type_.getbbox(text, stroke_width=weight))
    lean = int(abs(slant) * type_.size)
    mask = Image.new("L", (right + 2 * lean + 4, bottom + 4))
    ImageDraw.Draw(mask).text((lean, 0), text, font=type_, fill=255, stroke_width=weight)
    if slant:
        shift = slant * (top + bottom) / 2
        mask = mask.transform(mask.size, Image.Transform.AFFINE, (1, slant, -shift, 0, 1, 0), Image.Resampling.BILINEAR)
    return mask.resize((max(1, int(mask.width * width)), mask.height), Image.Resampling.BILINEAR)


def _panel(rng: Generator, pen: ImageDraw.ImageDraw, palette: Palette, size: int) -> None:
    left, top = rng.uniform(-0.1, 0.9, 2) * size
    width, height = rng.uniform(0.1, 0.7, 2) * size
    pen.rectangle((left, top, left + width, top + height), fill=palette.color(rng))
