"""Gray, color and transparency as images of the channels that a model has, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inference.errors import UpscaleError


def to_batch(color: Tensor, alpha: Tensor | None, channels: int) -> Tensor:
    """Color (1 or 3, H, W) and alpha (1, H, W) -> images (N, channels, H, W) of the kind the model takes."""
    if channels == 1:  # each plane is an image of its own
        planes = color if alpha is None else torch.cat([color, alpha])
        return planes[:, None]
    color = color.expand(3, -1, -1)
    if channels == 3:
        pictures = [color] if alpha is None else [color, alpha.expand(3, -1, -1)]
        return torch.stack(pictures)
    if channels == 4:
        return torch.cat([color, torch.ones_like(color[:1]) if alpha is None else alpha])[None]
    raise UpscaleError(f"The model takes {channels} channels; images can go through models of 1, 3 or 4.")


def from_batch(batch: Tensor, channels: int, has_alpha: bool) -> tuple[Tensor, Tensor | None]:
    """The inverse of `to_batch`: `channels` (1 or 3) of color and, if it was given, alpha."""
    alpha = None
    if batch.shape[1] == 1:
        planes = batch[:, 0]
        return planes[:channels], planes[channels:] if has_alpha else None
    if batch.shape[1] == 4:
        color, alpha = batch[0, :3], batch[0, 3:] if has_alpha else None
    else:
        color = batch[0]
        if has_alpha:
            alpha = batch[1].mean(0, keepdim=True)
    return color.mean(0, keepdim=True) if channels == 1 else color, alpha
