"""Draw a comparison: both images and their difference, and below them a close-up of where it is largest."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images.resize import resize
from ..inference.resample import resample
from .comparison import Comparison, Region
from .fidelity import Fidelity

_MAX_PANEL_SIDE, _MIN_PANEL_SIDE = 1024, 288
_GAP, _LINE_HEIGHT, _TEXT_SIZE = 12, 30, 18
_PAPER, _INK, _MARK = (30, 32, 36), (228, 228, 224), (255, 196, 0)


def draw_sheet(a: Tensor, b: Tensor, comparison: Comparison, names: tuple[str, str] = ("A", "B")) -> Tensor:
    """Draw two images and their comparison.

    Images larger than 1024 pixels are shrunk, the pixels of small ones repeated; close-ups show every pixel.
    The size of the drawing depends only on the size of the images, except that equal ones have no close-ups.

    Args:
        a: (1 or 3, H, W) in [0, 1].
        b: the same size as `a`.
        comparison: of these two images.
        names: of the images, to be written above them.

    Returns:
        (3, H, W) in [0, 1].
    """
    images = [a.expand(3, -1, -1), b.expand(3, -1, -1), comparison.difference]
    panels = [_panel(image, is_light=index < 2) for index, image in enumerate(images)]
    width = panels[0].shape[-1]
    close_ups = [] if comparison.worst is None else [_enlarged(comparison.worst.of(p), width) for p in images]
    rows = [panels, close_ups] if close_ups else [panels]

    tall = _GAP + _LINE_HEIGHT + sum(_LINE_HEIGHT + row[0].shape[-2] + _GAP for row in rows)
    canvas = (
        torch.tensor(_PAPER, dtype=torch.float32)[:, None, None].div(255).repeat(1, tall, 3 * (width + _GAP) + _GAP)
    )
    corners = []
    top = _GAP + _LINE_HEIGHT
    for row in rows:
        top += _LINE_HEIGHT
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
        _write(pen, (x, y - _LINE_HEIGHT), name, width)
    if comparison.worst is not None:
        worst = comparison.worst
        for x, y in corners[:3]:
            _frame(pen, (x, y), worst, width / a.shape[-1])
        where = f"{worst.side} x {worst.side} pixels at {worst.left}, {worst.top}, where they differ most"
        _write(pen, (_GAP, corners[3][1] - _LINE_HEIGHT), where, image.width - 2 * _GAP)
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255


def sentence(fidelity: Fidelity) -> str:
    """Return the figures of two images in a line."""
    return "equal: no pixel differs" if fidelity.identical else figures(fidelity)


def figures(f: Fidelity) -> str:
    """Return figures in a line; unlike `sentence`, also means."""
    return f"Y {f.psnr_y:.2f} dB, SSIM {f.ssim_y:.4f}; RGB {f.psnr_rgb:.2f} dB, SSIM {f.ssim_rgb:.4f}"


def _panel(image: Tensor, *, is_light: bool) -> Tensor:
    longest = max(image.shape[-2:])
    if longest > _MAX_PANEL_SIDE:
        height, width = (max(1, round(side * _MAX_PANEL_SIDE / longest)) for side in image.shape[-2:])
        shrink = resize if is_light else resample
        return shrink(image[None], (width, height))[0].clamp(0, 1)
    return _repeated(image, max(1, _MIN_PANEL_SIDE // longest))


def _enlarged(crop: Tensor, width: int) -> Tensor:
    """Repeat pixels as often as `width` allows."""
    crop = crop[..., :width]
    return _repeated(crop, max(1, width // crop.shape[-1]))


def _repeated(image: Tensor, times: int) -> Tensor:
    return image.repeat_interleave(times, -1).repeat_interleave(times, -2)


def _frame(pen: ImageDraw.ImageDraw, corner: tuple[int, int], region: Region, scale: float) -> None:
    left, top = corner[0] + region.left * scale, corner[1] + region.top * scale
    pen.rectangle((left, top, left + region.side * scale - 1, top + region.side * scale - 1), outline=_MARK, width=2)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int) -> None:
    """Write a line; if it is too long, its beginning is left out, since file names differ at their end."""
    font = ImageFont.load_default(_TEXT_SIZE)
    shown = text
    while len(shown) > 1 and pen.textlength(shown, font) > width:
        text = text[1:]
        shown = f"...{text}"
    pen.text(at, shown, _INK, font)
