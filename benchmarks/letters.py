"""Measure how well text is read on enlarged scans: pages of letters, blurred, noisy and compressed, read by Tesseract.

    python -m supertile.benchmarks.letters supertile-photo-2x supertile-photo-4x

Pages are drawn in Pillow's typeface at a few sizes, blurred by 0.35 pixels of the scan, reduced, and made noisy by 4
codes and JPEG of quality 70. The table shows the share of characters that are read wrongly (edit distance, all sizes
together) after enlarging by bicubic and by each network. The program `tesseract` must be installed.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ..images.upscaler import Upscaler

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or files")
    models = parser.parse_args().models
    if shutil.which("tesseract") is None:
        parser.error("the program tesseract is missing")
    print("| network | scale | bicubic | network |\n|---|---|---|---|")
    for model in models:
        upscaler = Upscaler(model, device="cpu", precision="fp32")
        scale, wrong = upscaler.scale, np.zeros(2)
        for height in HEIGHTS:
            page = drawn(height * scale)
            for seed in range(PAGES):
                scan = scanned(page, scale, seed)
                enlarged = scan.resize(page.size, Image.Resampling.BICUBIC), upscaler(scan)
                wrong += [mistakes(read(image)) for image in enlarged]
        shares = wrong / (len(HEIGHTS) * PAGES * len(" ".join(TEXT)))
        print(f"| {model} | {scale} | {shares[0]:.1%} | {shares[1]:.1%} |")


def drawn(height: int) -> Image.Image:
    """Return the page as it was printed; its sides are multiples of 12, so of every scale."""
    font = ImageFont.load_default(size=height)
    line = 1.5 * height
    width = max(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font) for text in TEXT)
    sides = [12 * (int(side) // 12 + 1) for side in (width + 2 * line, line * (len(TEXT) + 2))]
    page = Image.new("RGB", (sides[0], sides[1]), (242, 242, 242))
    for number, text in enumerate(TEXT, 1):
        ImageDraw.Draw(page).text((line, line * number), text, (45, 45, 45), font)
    return page


def scanned(page: Image.Image, scale: int, seed: int) -> Image.Image:
    blurred = page.filter(ImageFilter.GaussianBlur(0.35 * scale))
    small = np.array(blurred.resize((page.width // scale, page.height // scale), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed).normal(0, 4, small.shape)
    compressed = io.BytesIO()
    Image.fromarray((small + noise).clip(0, 255).round().astype(np.uint8)).save(compressed, "JPEG", quality=70)
    return Image.open(compressed).convert("RGB")


def read(image: Image.Image) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.png")
        image.save(path)
        command = ["tesseract", str(path), "-", "--psm", "6"]  # one block of text
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def mistakes(text: str) -> int:
    """Return how many characters must be changed, added or left out to get what was printed (Levenshtein)."""
    printed = " ".join(TEXT)
    row = list(range(len(printed) + 1))
    for number, letter in enumerate(text, 1):
        above, row = row, [number]
        for column, wanted in enumerate(printed):
            row.append(min(above[column] + (letter != wanted), above[column + 1] + 1, row[column] + 1))
    return row[-1]


if __name__ == "__main__":
    main()
