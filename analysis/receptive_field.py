"""Measure effective receptive fields: how much each pixel of an image contributes to one pixel of the result.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016: the
gradient of one pixel in the middle of the result by every pixel of the image, averaged over images. Here the
gradient is that of the sum over the channels of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..inference.errors import UpscaleError
from .gradients import Differentiable

SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class ReceptiveField:
    """The contribution of each pixel to one in the middle, averaged over images.

    Attributes:
        magnitude: (H, W) fp64 on the CPU: the absolute gradient, summed over channels.
        energy: (H, W) fp64 on the CPU: the squared gradient, summed over channels.
        images: how many were measured.
    """

    magnitude: Tensor
    energy: Tensor
    images: int

    @property
    def distances(self) -> Tensor:
        """Distance of each pixel from the middle, (H, W), along the farther axis: kernels and windows are square."""
        height, width = self.magnitude.shape
        rows, columns = torch.arange(height) - height // 2, torch.arange(width) - width // 2
        return torch.maximum(rows.abs()[:, None], columns.abs()[None, :])

    def radius(self, share: float, of: str = "energy") -> int:
        """Return the smallest r for which a square of 2 r + 1 pixels holds `share` of the "energy" or "magnitude"."""
        values = self.energy if of == "energy" else self.magnitude
        within = torch.zeros(int(self.distances.max()) + 1, dtype=torch.float64)
        within.index_add_(0, self.distances.flatten(), values.flatten())
        held = within.cumsum(0) >= share * within.sum() * (1 - 1e-12)  # sums round
        return int(held.nonzero()[0])

    @property
    def farthest(self) -> int:
        """Distance of the farthest pixel with any influence; 0 if there is none."""
        reached = self.distances[self.magnitude > 0]
        return int(reached.max()) if len(reached) else 0

    def figures(self) -> dict[str, Any]:
        """Return everything except the maps: radii by share, of the energy and of the magnitude."""
        radii = {of: {share: self.radius(share, of) for share in SHARES} for of in ("energy", "magnitude")}
        return {**radii, "farthest": self.farthest, "images": self.images}


def receptive_field(
    model: Differentiable,
    images: Sequence[Tensor],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ReceptiveField:
    """Measure the effective receptive field on images.

    Args:
        model: the network.
        images: (C, H, W) in [0, 1], one or more of one size.
        progress: called with the number of images done and their total, after each batch.

    Raises:
        UpscaleError: there are no images, they differ in size, or the model cannot take them.
        Cancelled: the model's `cancelled` returned True.
    """
    if not images:
        raise UpscaleError("a receptive field needs at least one image to be measured on")
    for image in images:
        model.check(image)
        if image.shape != images[0].shape:
            raise UpscaleError("a receptive field needs images of one size to be measured on")
    height, width = images[0].shape[1:]
    row, column = (size // 2 * model.scale + model.scale // 2 for size in (height, width))
    at_once = model.plan(height, width)
    magnitude = torch.zeros(height, width, dtype=torch.float64)
    energy = torch.zeros(height, width, dtype=torch.float64)
    for start in range(0, len(images), at_once):
        here = images[start : start + at_once]
        batch = torch.stack([image.to(model.device, torch.float32) for image in here])
        _, gradient = model.gradient(batch, lambda larger: larger[:, :, row, column].sum(1))
        magnitude += gradient.double().abs().sum((0, 1)).cpu()
        energy += gradient.double().square().sum((0, 1)).cpu()
        if progress is not None:
            progress(start + len(here), len(images))
    return ReceptiveField(magnitude / len(images), energy / len(images), len(images))


def noise(channels: int, side: int, count: int) -> list[Tensor]:
    """Return images (channels, side, side) of uniform noise, the same ones at each call."""
    seed = torch.Generator().manual_seed(0)
    return [torch.rand(channels, side, side, generator=seed) for _ in range(count)]
