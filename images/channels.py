"""Pack gray, color and transparency into images with the channels that a model takes, and unpack the result."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inference.errors import UpscaleError


def to_batch(color: Tensor, alpha: Tensor | None, channels: int) -> Tensor:
    """Pack color and alpha into images for a model.

    Args:
        color: (1 or 3, H, W).
        alpha: (1, H, W) or None.
        channels: how many the model takes: 1, 3 or 4.

    Returns:
        (N, channels, H, W): with 1 channel, each plane is an image of its own; with 3, alpha is a second image.

    Raises:
        UpscaleError: any other number of channels.
    """
    if channels == 1:
        planes = color if alpha is None else torch.cat([color, alpha])
        return planes[:, None]
    color = color.expand(3, -1, -1)
    if channels == 3:
        return torch.stack([color] if alpha is None else [color, alpha.expand(3, -1, -1)])
    if channels == 4:
        return torch.cat([color, torch.ones_like(color[:1]) if alpha is None else alpha])[None]
    raise UpscaleError(f"The model takes images of {channels} channels; only models of 1, 3 or 4 channels can be used.")


def from_batch(batch: Tensor, channels: int, has_alpha: bool) -> tuple[Tensor, Tensor | None]:
    """Undo `to_batch`.

    Args:
        batch: (N, C, H, W) as the model returns it.
        channels: of the color, 1 or 3; the mean of three is taken for 1.
        has_alpha: True if `to_batch` was given alpha.

    Returns:
        Color (channels, H, W), and alpha (1, H, W) or None.
    """
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
