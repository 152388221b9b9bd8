"""Measure the error that tiles cause: the difference from the whole image, and the smallest sufficient overlap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spandrel import ImageModelDescriptor
from torch import Tensor

from ..inference import memory
from ..inference.errors import UpscaleError
from ..inference.tiling import Geometry, smallest_tile
from ..inference.upscaler import Upscaler

BELOW = 0.5
"""Default bound on the error, in units of 1/255: half a step of an 8-bit image."""


@dataclass(frozen=True)
class Seams:
    """The difference between tiles and the whole image.

    Attributes:
        error: (sH, sW) on the CPU: the largest absolute difference of all channels, in units of 1/255.
        squared: mean squared difference over all channels, for results in [0, 1].
        tile: longer side of the tiles, in pixels of the image.
        overlap: least overlap of neighboring tiles, in pixels of the image.
        tiles: their number.
    """

    error: Tensor
    squared: float
    tile: int
    overlap: int
    tiles: int

    @property
    def largest(self) -> float:
        """The largest error, in units of 1/255."""
        return float(self.error.max())

    @property
    def mean(self) -> float:
        """The mean error, in units of 1/255."""
        return float(self.error.double().mean())

    @property
    def psnr(self) -> float:
        """PSNR in dB; infinite if there is no difference."""
        return -10 * math.log10(self.squared) if self.squared else math.inf


class SeamCheck:
    """Upscale one image whole, once, and compare it with the same image in tiles.

    Args:
        model: an image model as `load_model` or spandrel returns it.
        image: (C, H, W) in [0, 1].
        tile: longest side of a tile in pixels; None is what an Upscaler chooses, at most half of the image.
        progress: called with the number of images computed and the most that may be needed.
        cancelled: called before each batch of tiles; if it returns True, Cancelled is raised.
        options: passed to every Upscaler, such as device and precision.

    Raises:
        UpscaleError: the model cannot take the image, a single tile holds it, or memory does not suffice for the whole.
    """

    def __init__(
        self,
        model: ImageModelDescriptor,
        image: Tensor,
        tile: int | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> None:
        self._model, self._image, self._options = model, image, {"edges": "network"} | options
        self._progress, self._cancelled = progress, cancelled
        self._done = 0
        whole = Upscaler(model, tile="whole", **self._options)
        side = max(image.shape[-2:])
        self.tile = tile or min(memory.auto_tile(model, whole.device, whole.dtype), -(-side // 2))
        if side <= self.tile:
            raise UpscaleError(
                f"an image of {image.shape[-1]}x{image.shape[-2]} is a single tile of {self.tile}; choose a smaller "
                "tile or a larger image"
            )
        self._whole = whole(image[None], cancelled=cancelled)[0]
        if len(whole.plan(*image.shape[-2:])) > 1:  # memory ran out, so it was upscaled in tiles
            raise UpscaleError("there is not enough memory to upscale the whole image, with which tiles are compared")

    def overlaps(self) -> list[int]:
        """Return the overlaps to try: multiples of a window, or of 4 pixels, that fit into tiles of this size."""
        geometry = memory.geometry(self._model)
        tried = (Geometry(geometry.grid, geometry.multiple, o) for o in range(0, self.tile, max(geometry.grid, 4)))
        return [each.overlap for each in tried if smallest_tile(each) <= self.tile]

    def measure(self, overlap: int | str = "auto") -> Seams:
        """Upscale in tiles with an overlap in pixels, or the one that an Upscaler chooses, and compare."""
        upscaler = Upscaler(self._model, tile=self.tile, overlap=overlap, **self._options)
        plan = upscaler.plan(*self._image.shape[-2:])
        taken = upscaler.overlap
        if len(plan) == 1:
            raise UpscaleError(
                f"with an overlap of {taken} the image is a single tile of {max(plan.tile)} pixels; choose a smaller "
                "overlap or a larger image"
            )
        difference = (upscaler(self._image[None], cancelled=self._cancelled)[0] - self._whole).abs()
        squared = float(difference.double().square().mean())
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, len(self.overlaps()) + 1)
        return Seams(255 * difference.amax(0), squared, max(plan.tile), taken, len(plan))

    def smallest(self, below: float = BELOW) -> Seams | None:
        """Return the result of the smallest overlap whose largest error is below `below`/255; None if there is none.

        All overlaps are tried in turn, from 0: errors need not fall steadily, since tiles move with their overlap.
        """
        return next((seams for seams in map(self.measure, self.overlaps()) if seams.largest < below), None)
