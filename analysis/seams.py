"""What tiles cost: how far an image in tiles is from the same image as a whole, and which overlap is enough."""

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
"""In 1/255: half a step of an 8-bit image."""


@dataclass(frozen=True)
class Seams:
    """The difference between tiles and the whole image.

    error: (sH, sW) on the CPU, the largest of the channels at each pixel of the result, in 1/255.
    squared: its mean square over all channels, of results in [0, 1]. tile: the longer side of the tiles, which overlap
    by `overlap` pixels at least on each side; there are `tiles` of them.
    """

    error: Tensor
    squared: float
    tile: int
    overlap: int
    tiles: int

    @property
    def largest(self) -> float:
        return float(self.error.max())

    @property
    def mean(self) -> float:
        return float(self.error.double().mean())

    @property
    def psnr(self) -> float:
        """Decibels, as of images in [0, 1]; infinite where there is no difference."""
        return -10 * math.log10(self.squared) if self.squared else math.inf


class SeamCheck:
    """One image and one model: computed whole once, then in tiles as often as is asked.

    Args:
        model: an image model as `load_model` or spandrel gives it.
        image: (C, H, W) in [0, 1].
        tile: the longest side of a tile in pixels; None is what an Upscaler takes by itself, at most half the image.
        progress: called with the images computed and the images expected at most.
        cancelled: called before every batch of tiles, as the Upscaler takes it.
        options: device and precision, as the Upscaler takes them.
    Raises:
        UpscaleError: an image that the model does not take or that a tile holds; not enough memory for all of it.
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
        self._model, self._image, self._options = model, image, options
        self._progress, self._cancelled = progress, cancelled
        self._done = 0
        whole = Upscaler(model, tile="whole", **options)
        side = max(image.shape[-2:])
        self.tile = tile or min(memory.auto_tile(model, whole.device, whole.dtype), -(-side // 2))
        if side <= self.tile:
            raise UpscaleError(
                f"an image of {image.shape[-1]}x{image.shape[-2]} is a single tile of {self.tile}; take a smaller "
                "tile or a larger image"
            )
        self._whole = whole(image[None], cancelled=cancelled)[0]
        if len(whole.plan(*image.shape[-2:])) > 1:  # memory ran out, and it went on in tiles
            raise UpscaleError("there is not enough memory for the whole image, which tiles are compared with")

    def overlaps(self) -> list[int]:
        """Those that are tried: whole windows or steps of 4, as far as tiles of this size hold them."""
        geometry = memory.geometry(self._model)
        tried = (Geometry(geometry.grid, geometry.multiple, o) for o in range(0, self.tile, max(geometry.grid, 4)))
        return [each.overlap for each in tried if smallest_tile(each) <= self.tile]

    def measure(self, overlap: int | str = "auto") -> Seams:
        """With this overlap, or with the one that an Upscaler takes by itself."""
        upscaler = Upscaler(self._model, tile=self.tile, overlap=overlap, **self._options)
        plan = upscaler.plan(*self._image.shape[-2:])
        taken = upscaler.overlap
        if len(plan) == 1:
            raise UpscaleError(
                f"with an overlap of {taken} the image is a single tile of {max(plan.tile)} pixels; take a smaller "
                "overlap or a larger image"
            )
        difference = (upscaler(self._image[None], cancelled=self._cancelled)[0] - self._whole).abs()
        squared = float(difference.double().square().mean())
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, len(self.overlaps()) + 1)
        return Seams(255 * difference.amax(0), squared, max(plan.tile), taken, len(plan))

    def smallest(self, below: float = BELOW) -> Seams | None:
        """The smallest overlap whose largest error is below so many 1/255; None where no overlap's is.

        Tried one after the other from none: errors need not fall evenly, since with the overlap the tiles move too.
        """
        return next((seams for seams in map(self.measure, self.overlaps()) if seams.largest < below), None)
