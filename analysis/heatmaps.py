"""Draw attribution maps, receptive fields and seams as heat maps, side by side, with names and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .attribution import Attribution, Patch
from .receptive_field import ReceptiveField
from .seams import Seams

MIN_PANEL_SIDE = 384  # pixels; smaller images are enlarged by whole factors, so that each pixel can be seen
MARGIN, TEXT_SIZE = 12, 18
PAPER, INK, PATCH_OUTLINE = (255, 255, 255), (20, 20, 20), (0, 150, 60)
IMAGE_OPACITY = 0.35

# White, red, dark red: the upper half of matplotlib's "seismic", which the authors of LAM use.
_RAMP = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])


@dataclass(frozen=True)
class Panel:
    """One image (3, H, W) in [0, 1], the lines of text below it, and a patch to outline."""

    image: Tensor
    lines: tuple[str, ...]
    patch: Patch | None = None


def attribution_panels(image: Tensor, attributions: Sequence[tuple[str, Attribution]]) -> list[Panel]:
    """Return panels of the image with its patch outlined, and of the map of each model over the image.

    Args:
        image: (C, H, W) in [0, 1].
        attributions: (name of the model, its attribution), all of one patch.
    """
    image = _rgb(image)
    patch = attributions[0][1].patch
    panels = [Panel(image, ("image and patch", f"{patch.size} x {patch.size} at {patch.x}, {patch.y}"), patch)]
    for name, each in attributions:
        panels.append(Panel(over(image, each.map), (name, f"DI {each.diffusion_index:.2f}"), each.patch))
    return panels


def field_panels(fields: Sequence[tuple[str, ReceptiveField]]) -> list[Panel]:
    """Return two panels for each (name of a model, its receptive field): linear, then logarithmic over six decades.

    Drawn is the square root of the mean energy.
    """
    panels = []
    for name, field in fields:
        strength = field.energy.sqrt()
        decades = (strength / strength.max()).clamp(min=1e-6).log10() / 6 + 1
        radii = " / ".join(str(field.radius(share)) for share in (0.5, 0.95, 0.99))
        panels.append(Panel(heat(strength / strength.max()), (name, f"50 / 95 / 99 % within {radii} px")))
        panels.append(Panel(heat(decades), ("logarithmic, six decades", f"farthest pixel: {field.farthest} px")))
    return panels


def seam_panels(seams: Seams) -> list[Panel]:
    """Return a panel of the error that tiles cause: white is none, the darkest red the largest."""
    largest = max(seams.largest, 1e-12)
    text = f"{seams.tiles} tiles of {seams.tile} px, overlap {seams.overlap}"
    return [Panel(heat(seams.error / largest), (text, f"largest {seams.largest:.3f}/255, mean {seams.mean:.4f}/255"))]


def over(image: Tensor, strength: Tensor) -> Tensor:
    """Draw a map (H, W) of values from 0 over an image (3, H, W) in gray; the largest value is the darkest red.

    Drawn is the square root: a map has few large values, near the patch, beside which nothing else would be visible.
    """
    largest = strength.max()
    gray = image.mean(0, keepdim=True).expand(3, -1, -1)
    return IMAGE_OPACITY * gray + (1 - IMAGE_OPACITY) * heat((strength / largest).sqrt() if largest > 0 else strength)


def heat(values: Tensor) -> Tensor:
    """Color values (H, W) in [0, 1] from white through red to dark red: (3, H, W)."""
    at = values.float().clamp(0, 1) * (len(_RAMP) - 1)
    low = at.floor().clamp(max=len(_RAMP) - 2).long()
    color = torch.lerp(_RAMP[low], _RAMP[low + 1], (at - low)[..., None])
    return color.permute(2, 0, 1)


def draw_panels(panels: Sequence[Panel], columns: int | None = None) -> Tensor:
    """Draw panels of one size side by side.

    Args:
        panels: one or more.
        columns: panels in a row; None puts all into one row.

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
    size = (MARGIN + columns * (wide + MARGIN), MARGIN + rows * (high + MARGIN))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, panel in enumerate(panels):
        left = MARGIN + index % columns * (wide + MARGIN)
        top = MARGIN + index // columns * (high + MARGIN)
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


def _rgb(image: Tensor) -> Tensor:
    """Return the first three channels, or the first one three times."""
    return image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
