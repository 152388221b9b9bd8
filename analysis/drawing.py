"""What was measured, as images: maps over the image they belong to, side by side, with names and figures."""

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

LEAST_SIDE = 384  # pixels of a panel: small images are repeated pixel by pixel, so that each can be seen
MARGIN, TEXT = 12, 18
PAPER, INK, OUTLINE = (255, 255, 255), (20, 20, 20), (0, 150, 60)
UNDER = 0.35  # of the image, in gray, below a map

# From nothing to the most: matplotlib's seismic from its middle, as the authors draw their maps.
_RAMP = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])


@dataclass(frozen=True)
class Panel:
    """One image (3, H, W) in [0, 1] with what is written below it."""

    image: Tensor
    lines: tuple[str, ...]
    patch: Patch | None = None


def attribution_panels(image: Tensor, found: Sequence[tuple[str, Attribution]]) -> list[Panel]:
    """The image with the patch outlined, then the map of each model, by its name, over the image."""
    image = _rgb(image)
    patch = found[0][1].patch
    panels = [Panel(image, ("image and patch", f"{patch.size} x {patch.size} at {patch.x}, {patch.y}"), patch)]
    for name, each in found:
        panels.append(Panel(over(image, each.map), (name, f"DI {each.diffusion_index:.2f}"), each.patch))
    return panels


def field_panels(found: Sequence[tuple[str, ReceptiveField]]) -> list[Panel]:
    """The receptive field of each model, the square root of its mean energy; linear, then in decades."""
    panels = []
    for name, field in found:
        strength = field.energy.sqrt()
        decades = (strength / strength.max()).clamp(min=1e-6).log10() / 6 + 1
        radii = " / ".join(str(field.radius(share)) for share in (0.5, 0.95, 0.99))
        panels.append(Panel(heat(strength / strength.max()), (name, f"50 / 95 / 99 % within {radii} px")))
        panels.append(Panel(heat(decades), ("the same, six decades", f"farthest pixel: {field.farthest} px")))
    return panels


def seam_panels(found: Seams) -> list[Panel]:
    """Where tiles differ from the whole image: white is no difference, the darkest red the largest."""
    most = max(found.largest, 1e-12)
    text = f"{found.tiles} tiles of {found.tile}, overlap {found.overlap}"
    return [Panel(heat(found.error / most), (text, f"largest {found.largest:.3f}, mean {found.mean:.4f} of 255"))]


def over(image: Tensor, strength: Tensor) -> Tensor:
    """A map (H, W) of 0 or more over an image (3, H, W), in gray; the largest value is the darkest red.

    Drawn is the square root: of a map whose few largest values are near the patch, nothing else would be seen.
    """
    most = strength.max()
    gray = image.mean(0, keepdim=True).expand(3, -1, -1)
    return UNDER * gray + (1 - UNDER) * heat((strength / most).sqrt() if most > 0 else strength)


def heat(values: Tensor) -> Tensor:
    """(H, W) in [0, 1] -> (3, H, W), from white through red to dark red."""
    at = values.float().clamp(0, 1) * (len(_RAMP) - 1)
    low = at.floor().clamp(max=len(_RAMP) - 2).long()
    color = torch.lerp(_RAMP[low], _RAMP[low + 1], (at - low)[..., None])
    return color.permute(2, 0, 1)


def draw(panels: Sequence[Panel], columns: int | None = None) -> Tensor:
    """Panels of one size side by side, (3, H, W) in [0, 1]; `columns` in a row, else all."""
    columns = columns or len(panels)
    height, width = panels[0].image.shape[1:]
    zoom = max(1, -(-LEAST_SIDE // max(height, width)))
    font = ImageFont.load_default(TEXT)
    line = TEXT + 6
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
                (left + x - 2, top + y - 2, left + x + side + 1, top + y + side + 1), outline=OUTLINE, width=2
            )
        for number, text in enumerate(panel.lines):
            pen.text((left, top + height * zoom + 4 + number * line), _fitting(text, font, wide), INK, font)
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def _fitting(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """A text cut to the width of its panel."""
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
    """What can be seen of an image of any number of channels."""
    return image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
