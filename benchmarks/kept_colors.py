"""Count values of results with kept colors that do not reduce to their source.

    python -m supertile.benchmarks.kept_colors supertile-2x supertile-4x --images Set5 Set14

Each folder has `NNN_LR.png` images, or folders x2 and x4 with such images. Results are rounded to 8 bits and reduced by
Pillow's bicubic, in floating point, so by other code than what corrected them. A value is off if it differs from the
source by more than half a code of 8 bits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ..images.upscaler import Upscaler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or files")
    parser.add_argument("--images", nargs="+", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    print("| network | images | values | off | largest difference in codes |\n|---|---|---|---|---|")
    for model in arguments.models:
        upscaler = Upscaler(model, device="cpu", precision="fp32", keep_colors=True)
        for folder in arguments.images:
            differences = np.concatenate([left(upscaler, path) for path in small_images(folder, upscaler.scale)])
            off = int((differences > 0.5).sum())
            print(f"| {model} | {folder.name} | {differences.size} | {off} | {differences.max():.3f} |", flush=True)


def small_images(folder: Path, scale: int) -> list[Path]:
    return sorted([*folder.glob("*_LR.png"), *folder.glob(f"x{scale}/*_LR.png")])


def left(upscaler: Upscaler, path: Path) -> np.ndarray:
    """Return how far each value of an enlarged image is from its source after reducing, in codes."""
    with Image.open(path) as image:
        source = image.convert("RGB")
    pairs = zip(upscaler(source).split(), source.split(), strict=True)
    return np.concatenate([_difference(large, small) for large, small in pairs])


def _difference(large: Image.Image, small: Image.Image) -> np.ndarray:
    reduced = large.convert("F").resize(small.size, Image.Resampling.BICUBIC)
    return np.abs(np.asarray(reduced).clip(0, 255) - np.asarray(small, np.float32)).ravel()


if __name__ == "__main__":
    main()
