"""The image and the clip of `supertile demo`, drawn as the images for training are, and none of those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .corpus import reduced
from .images import FINER
from .leaves import draw_leaves

SCALE = 4
FRAMES, MILLISECONDS = 50, 40  # two seconds


def write_samples(folder: Path, seed: int) -> None:
    """Write `image.png` (160x120) and `clip.webp` (128x96, 50 frames of 40 ms)."""
    scene = _scene(seed, 640 * FINER)
    image = _seen(scene, (0, 0, 640 * FINER, 480 * FINER), (640, 480))
    Image.fromarray(image).save(folder / "image.png", optimize=True)
    frames = [Image.fromarray(_seen(scene, _view(n / (FRAMES - 1), scene.width), (512, 384))) for n in range(FRAMES)]
    frames[0].save(
        folder / "clip.webp", save_all=True, append_images=frames[1:], duration=MILLISECONDS, quality=85, method=6
    )


def _scene(seed: int, size: int) -> Image.Image:
    """Leaves, and before them what is hard to enlarge: small letters, a fan, rings."""
    scene = draw_leaves(np.random.default_rng(seed), size)
    pen = ImageDraw.Draw(scene)
    unit = size // 40
    pen.rectangle((2 * unit, 2 * unit, 17 * unit, 11 * unit), fill=(244, 238, 224))
    pen.text((3 * unit, 2.2 * unit), "Supertile", font=ImageFont.load_default(3 * unit), fill=(30, 34, 48))
    lines = "edges stay sharp,\nletters clear"
    pen.multiline_text((3 * unit, 6.2 * unit), lines, font=ImageFont.load_default(1.7 * unit), fill=(60, 66, 84))
    x, y, reach = 32 * unit, 8 * unit, 5 * unit
    pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=(250, 246, 236))
    for angle in np.linspace(0, 2 * np.pi, 48, endpoint=False):
        pen.line([(x, y), (x + reach * np.cos(angle), y + reach * np.sin(angle))], fill=(24, 32, 60), width=unit // 6)
    for ring in range(1, 9):
        r = ring * unit // 2
        pen.ellipse((8 * unit - r, 24 * unit - r, 8 * unit + r, 24 * unit + r), outline=(200, 40, 30), width=unit // 6)
    return scene


def _view(progress: float, size: int) -> tuple[int, int, int, int]:
    """The part of the scene that is seen: from the letters slowly across, ever nearer."""
    ease = progress * progress * (3 - 2 * progress)
    width = size * (0.75 - 0.2 * ease)
    left, top = size * 0.35 * ease, size * 0.12 * ease
    return int(left), int(top), int(left + width), int(top + width * 3 / 4)


def _seen(scene: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A part of the scene, reduced and made small as in training; (H, W, 3)."""
    return reduced(np.array(scene.resize(size, Image.Resampling.BOX, box=box, reducing_gap=None)), SCALE)
