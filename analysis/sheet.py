"""A comparison as an image to look at: both images and their difference, and below where they differ most."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images.resize import resample, resize
from .compare import Comparison, Region
from .fidelity import Fidelity

_LARGEST_PANEL, _SMALLEST_PANEL = 1024, 288  # pixels of the longer side
_GAP, _LINE, _LETTERS = 12, 30, 18  # pixels: between panels, a line of text, its size
_PAPER, _INK, _MARK = (30, 32, 36), (228, 228, 224), (255, 196, 0)


def draw(a: Tensor, b: Tensor, comparison: Comparison, names: tuple[str, str] = ("A", "B")) -> Tensor:
    """(3, H, W) in [0, 1] from the two images that were compared, (1 or 3, H, W) in [0, 1].

    Images of more than 1024 pixels are shown smaller, small ones with larger pixels; the squares below show every
    pixel. How large the drawing is depends only on the size of the images, unless they are equal.
    """
    images = [a.expand(3, -1, -1), b.expand(3, -1, -1), comparison.difference]
    panels = [_panel(image, is_light=index < 2) for index, image in enumerate(images)]
    width = panels[0].shape[-1]
    details = [] if comparison.worst is None else [_enlarged(comparison.worst.of(p), width) for p in images]
    rows = [panels, details] if details else [panels]

    tall = _GAP + _LINE + sum(_LINE + row[0].shape[-2] + _GAP for row in rows)
    canvas = (
        torch.tensor(_PAPER, dtype=torch.float32)[:, None, None].div(255).repeat(1, tall, 3 * (width + _GAP) + _GAP)
    )
    corners = []
    top = _GAP + _LINE
    for row in rows:
        top += _LINE
        for column, panel in enumerate(row):
            left = _GAP + column * (width + _GAP)
            canvas[:, top : top + panel.shape[-2], left : left + panel.shape[-1]] = panel
            corners.append((left, top))
        top += row[0].shape[-2] + _GAP

    image = Image.fromarray((canvas.movedim(0, -1) * 255 + 0.5).to(torch.uint8).numpy())
    pen = ImageDraw.Draw(image)
    _write(pen, (_GAP, _GAP), sentence(comparison.fidelity), image.width - 2 * _GAP)
    difference = f"difference x{comparison.gain}" if comparison.gain > 1 else "difference"
    for (x, y), name in zip(corners[:3], (*names, difference), strict=True):
        _write(pen, (x, y - _LINE), name, width)
    if comparison.worst is not None:
        worst = comparison.worst
        for x, y in corners[:3]:
            _frame(pen, (x, y), worst, width / a.shape[-1])
        where = f"{worst.side} x {worst.side} pixels at {worst.left}, {worst.top}, where they differ most"
        _write(pen, (_GAP, corners[3][1] - _LINE), where, image.width - 2 * _GAP)
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255


def sentence(fidelity: Fidelity) -> str:
    """The figures of two images in a line."""
    return "equal: no pixel differs" if fidelity.identical else figures(fidelity)


def figures(f: Fidelity) -> str:
    """The figures in a line, also where they are means."""
    return f"Y {f.psnr_y:.2f} dB, SSIM {f.ssim_y:.4f}; RGB {f.psnr_rgb:.2f} dB, SSIM {f.ssim_rgb:.4f}"


def _panel(image: Tensor, *, is_light: bool) -> Tensor:
    longest = max(image.shape[-2:])
    if longest > _LARGEST_PANEL:
        height, width = (max(1, round(side * _LARGEST_PANEL / longest)) for side in image.shape[-2:])
        shrink = resize if is_light else resample
        return shrink(image[None], (width, height))[0].clamp(0, 1)
    return _repeated(image, max(1, _SMALLEST_PANEL // longest))


def _enlarged(detail: Tensor, width: int) -> Tensor:
    """Every pixel as a square, as large as fits into `width`."""
    detail = detail[..., :width]
    return _repeated(detail, max(1, width // detail.shape[-1]))


def _repeated(image: Tensor, times: int) -> Tensor:
    return image.repeat_interleave(times, -1).repeat_interleave(times, -2)


def _frame(pen: ImageDraw.ImageDraw, corner: tuple[int, int], region: Region, scale: float) -> None:
    left, top = corner[0] + region.left * scale, corner[1] + region.top * scale
    pen.rectangle((left, top, left + region.side * scale - 1, top + region.side * scale - 1), outline=_MARK, width=2)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int) -> None:
    """A line, with its beginning left out where it is too long: names of files differ at their end."""
    font = ImageFont.load_default(_LETTERS)
    shown = text
    while len(shown) > 1 and pen.textlength(shown, font) > width:
        text = text[1:]
        shown = f"...{text}"
    pen.text(at, shown, _INK, font)
