"""Crops of real kinds, degraded, beside bicubic and the bundled networks: the sheets in docs/images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..inference.upscaler import Upscaler
from ..weights.loader import load_model
from .blurs import gaussian
from .degradations import Pixels, gaussian_noise, h264, jpeg, softened
from .drawings import draw_lines, draw_page
from .errors import TrainingError

_SIDE = 200  # of a crop on the sheet
_LABEL = 16
_GAP = 4


@dataclass(frozen=True)
class Case:
    """A crop.

    Attributes:
        label: what it shows.
        source: the name of a photograph, or a function that draws a picture of any size.
        center: of the crop, in shares of width and height.
        degrade: what happens to the small picture.
    """

    label: str
    source: str | Callable[[], Image.Image]
    center: tuple[float, float]
    degrade: Callable[[Pixels], Pixels]


def _noise(pixels: Pixels, sigma: float) -> Pixels:
    return gaussian_noise(np.random.default_rng(0), pixels, sigma)


def _scanned(pixels: Pixels) -> Pixels:
    return jpeg(_noise(softened(pixels, gaussian(0.6)), 4), 70)


CASES = (
    Case("letter: blur, noise 4, JPEG 70", lambda: draw_page(np.random.default_rng(27), 900), (0.35, 0.3), _scanned),
    Case("drawing: JPEG 60", lambda: draw_lines(np.random.default_rng(4), 900), (0.5, 0.5), lambda p: jpeg(p, 60)),
    Case("face: JPEG 75", "astronaut.png", (0.44, 0.22), lambda p: jpeg(p, 75)),
    Case("fur: noise 10", "chelsea.png", (0.5, 0.4), lambda p: _noise(p, 10)),
    Case("foliage: JPEG 75", "kaleido_spring_1.png", (0.5, 0.5), lambda p: jpeg(p, 75)),
    Case("film frame: H.264, crf 29", "st_hospitality-venue.png", (0.5, 0.5), lambda p: h264(p, 55)),
    Case("temple: JPEG 40", "china.png", (0.5, 0.35), lambda p: jpeg(p, 40)),
    Case("grass: clean", "grass.png", (0.5, 0.5), lambda p: p),
)
COLUMNS = ("bicubic", "clean network", "photo network", "original")


def draw_sheet(sources: Path, folder: Path, scale: int) -> Path:
    """Write a sheet of all cases, a row for each: bicubic, both bundled networks, original.

    Args:
        sources: folder of the photographs that `CASES` names.
        folder: to write into.
        scale: 2 or 4.

    Returns:
        The file.

    Raises:
        TrainingError: a photograph is missing.
    """
    upscalers = [
        Upscaler(load_model(f"supertile-{kind}{scale}x"), device="cpu", precision="fp32") for kind in ("", "photo-")
    ]
    rows = [_row(case, sources, scale, upscalers) for case in CASES]
    width, height = len(COLUMNS) * (_SIDE + _GAP) - _GAP, len(CASES) * (_SIDE + _LABEL + _GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (case, crops) in enumerate(zip(CASES, rows, strict=True)):
        top = i * (_SIDE + _LABEL + _GAP)
        for j, (name, crop) in enumerate(zip(COLUMNS, crops, strict=True)):
            left = j * (_SIDE + _GAP)
            pen.text((left + 2, top + 1), f"{case.label}; bicubic" if j == 0 else name, "black", font)
            sheet.paste(crop, (left, top + _LABEL))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"crops-{scale}x.jpg"
    sheet.save(path, quality=80)
    return path


def _row(case: Case, sources: Path, scale: int, upscalers: list[Upscaler]) -> list[Image.Image]:
    large = _large(case, sources, scale)
    small = case.degrade(
        np.array(large.resize((large.width // scale, large.height // scale), Image.Resampling.BICUBIC))
    )
    tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    results = [Image.fromarray(small).resize(large.size, Image.Resampling.BICUBIC)]
    for upscaler in upscalers:
        pixels = upscaler(tensor)[0].permute(1, 2, 0).mul(255).round().byte().numpy()
        results.append(Image.fromarray(pixels))
    left, top = ((side - _SIDE) // 2 // scale * scale for side in large.size)
    return [each.crop((left, top, left + _SIDE, top + _SIDE)) for each in (*results, large)]


def _large(case: Case, sources: Path, scale: int) -> Image.Image:
    """Return the crop with a margin around it, before it is reduced."""
    if isinstance(case.source, str):
        path = sources / case.source
        if not path.is_file():
            raise TrainingError(f"There is no photograph {path}")
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    else:
        image = case.source().convert("RGB")
    side = min(_SIDE + 64, *image.size) // scale * scale
    left, top = (
        round(min(max(share * length - side / 2, 0), length - side))
        for share, length in zip(case.center, image.size, strict=True)
    )
    return image.crop((left, top, left + side, top + side))
