"""Draw attribution maps, receptive fields and seams as heat maps, each a panel with its name and figures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .attribution import Attribution
from .panels import Panel
from .receptive_field import ReceptiveField
from .seams import Seams

IMAGE_OPACITY = 0.35

# White, red, dark red: the upper half of matplotlib's "seismic", which the authors of LAM use.
_RAMP = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]])


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


def _rgb(image: Tensor) -> Tensor:
    """Return the first three channels, or the first one three times."""
    return image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
