"""How well text is read on enlarged scans: pages of letters, blurred, noisy and compressed, read by Tesseract.

Pages are printed in a few sizes, blurred by 0.35 pixels of the scan, reduced, and made noisy by 4 codes and JPEG of
quality 70. What Tesseract reads after enlarging is compared to what was printed by edit distance.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from spandrel import ImageModelDescriptor

from ..images.upscaler import Upscaler
from .blurs import gaussian
from .corpus import reduced
from .degradations import Pixels, gaussian_noise, jpeg, softened
from .errors import TrainingError
from .typefaces import font

TEXT = (
    "Dear Mrs Vogel, the roof of the barn",
    "was mended on 14 March; 1,856.90 euro",
    "are due by Friday. Six beams, two of",
    "them oak, had to be replaced, and the",
    "gutter above the kitchen is new. Half",
    "of the tiles could be used once more.",
    "Please keep this page: account 20473.",
)
HEIGHTS = 7, 8, 9, 10, 11, 12
"""Sizes of the typeface in pixels of the scan; lines are half as much again apart."""
PAGES = 4
"""Scans of each size, with different noise."""


def misread_shares(model: ImageModelDescriptor, typeface: Path | None = None) -> tuple[float, float]:
    """Return the share of characters that are read wrongly after enlarging by bicubic and by a network, all sizes.

    Args:
        model: as `load_model` returns it.
        typeface: a TrueType or OpenType file; None for Pillow's own, which the drawn pages for training are set in.

    Raises:
        TrainingError: if the program `tesseract` is missing, or the typeface cannot be read.
    """
    if shutil.which("tesseract") is None:
        raise TrainingError("The program tesseract is missing; it reads the letters")
    upscaler, scale, wrong = Upscaler(model, device="cpu", precision="fp32"), model.scale, np.zeros(2)
    for height in HEIGHTS:
        page = printed(height * scale, typeface)
        for seed in range(PAGES):
            scan = scanned(page, scale, seed)
            bicubic = Image.fromarray(scan).resize(page.shape[1::-1], Image.Resampling.BICUBIC)
            wrong += [mistakes(read(image)) for image in (np.array(bicubic), upscaler(scan))]
    by_bicubic, by_network = (wrong / (len(HEIGHTS) * PAGES * len(" ".join(TEXT)))).tolist()
    return by_bicubic, by_network


def printed(height: int, typeface: Path | None = None) -> Pixels:
    """Return a page with letters of a height, dark on light; its sides are multiples of 12, so of every scale."""
    line, letters = 1.5 * height, font(typeface, height)
    width = max(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, letters) for text in TEXT)
    sides = [12 * (int(side) // 12 + 1) for side in (width + 2 * line, line * (len(TEXT) + 2))]
    page = Image.new("RGB", (sides[0], sides[1]), (242, 242, 242))
    for number, text in enumerate(TEXT, 1):
        ImageDraw.Draw(page).text((line, line * number), text, (45, 45, 45), letters)
    return np.array(page)


def scanned(page: Pixels, scale: int, seed: int) -> Pixels:
    """Return a page as it is scanned, `scale` times smaller."""
    small = reduced(softened(page, gaussian(0.35 * scale)), scale)
    return jpeg(gaussian_noise(np.random.default_rng(seed), small, 4), 70)


def read(image: Pixels) -> str:
    """Return what Tesseract reads on a page, all of it as one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.png")
        Image.fromarray(image).save(path)
        command = ["tesseract", str(path), "-", "--psm", "6"]  # one block of text
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def mistakes(text: str) -> int:
    """Return how many characters must be changed, added or left out to get what was printed (Levenshtein)."""
    wanted_text = " ".join(TEXT)
    row = list(range(len(wanted_text) + 1))
    for number, letter in enumerate(text, 1):
        above, row = row, [number]
        for column, wanted in enumerate(wanted_text):
            row.append(min(above[column] + (letter != wanted), above[column + 1] + 1, row[column] + 1))
    return row[-1]
