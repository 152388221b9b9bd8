"""Draw images side by side, each a panel with lines of text below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .attribution import Patch

MIN_PANEL_SIDE = 384  # pixels; smaller images are enlarged by whole factors, so that each pixel can be seen
MARGIN, TEXT_SIZE = 12, 18
PAPER, INK, PATCH_OUTLINE = (255, 255, 255), (20, 20, 20), (0, 150, 60)


@dataclass(frozen=True)
class Panel:
    """One image (3, H, W) in [0, 1], the lines of text below it, and a patch to outline."""

    image: Tensor
    lines: tuple[str, ...]
    patch: Patch | None = None


def draw_panels(panels: Sequence[Panel], columns: int | None = None, title: Sequence[str] = ()) -> Tensor:
    """Draw panels of one size side by side.

    Args:
        panels: one or more.
        columns: panels in a row; None puts all into one row.
        title: lines of text above all panels.

    Returns:
        (3, H, W) in [0, 1].
    """
    columns = columns or len(panels)
    height, width = panels[0].image.shape[1:]
    zoom = max(1, -(-MIN_PANEL_SIDE // max(height, width)))
    font = ImageFont.load_default(TEXT_SIZE)
    line = TEXT_SIZE + 6
    wide, high = max(width * zoom, 240), height * zoom + line * max(len(panel.lines) for panel in panels) + 4
    rows = -(-len(panels) // columns)
    above = MARGIN + line * len(title) + (MARGIN // 2 if title else 0)
    size = (MARGIN + columns * (wide + MARGIN), above + rows * (high + MARGIN))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, text in enumerate(title):
        pen.text((MARGIN, MARGIN + number * line), _fitting(text, font, size[0] - 2 * MARGIN), INK, font)
    for index, panel in enumerate(panels):
        left = MARGIN + index % columns * (wide + MARGIN)
        top = above + index // columns * (high + MARGIN)
        sheet.paste(_image(panel.image, zoom), (left, top))
        if panel.patch is not None:
            x, y, side = (value * zoom for value in (panel.patch.x, panel.patch.y, panel.patch.size))
            pen.rectangle(
                (left + x - 2, top + y - 2, left + x + side + 1, top + y + side + 1), outline=PATCH_OUTLINE, width=2
            )
        for number, text in enumerate(panel.lines):
            pen.text((left, top + height * zoom + 4 + number * line), _fitting(text, font, wide), INK, font)
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def _fitting(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """Cut a text to the width of its panel."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _image(image: Tensor, zoom: int) -> Image.Image:
    codes = (image.detach().cpu().float().clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    larger = F.interpolate(codes[None].float(), scale_factor=zoom, mode="nearest")[0].to(torch.uint8)
    return Image.fromarray(larger.permute(1, 2, 0).contiguous().numpy())
