"""The interface of what an Upscaler computes with: one network, several one after the other, or the mean of two.

A stage is a stream of images: images in, larger images out, in order. `network_stage.py` is that of one network;
`combined_stages.py` connects stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from .host import Host
from .tiling import TilePlan


class Stage(Protocol):
    """A stream of images.

    Attributes:
        scale, input_channels, output_channels: as those of a model.
        dtype: the precision; fp32 if networks differ in it.
    """

    scale: int
    input_channels: int
    output_channels: int
    dtype: torch.dtype

    def stream(
        self,
        images: Iterable[Tensor],
        host: Host,
        *,
        keep_on_device: bool,
        reuse_static: bool,
        mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Upscale images as `Upscaler.stream` does.

        mask: (H, W) bool, of all images: where results are needed. Tiles without any of it are not computed, and zero.
        """
        ...

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        """Return the tiles in which the first network computes an image."""
        ...

    def steps(self, height: int, width: int) -> int:
        """Return how many steps an image of this size counts in `progress`."""
        ...

    @property
    def overlap(self) -> int:
        """The halo that tiles need at each inner side, in pixels of the input."""
        ...

    @property
    def grid(self) -> int:
        """Origins of tiles are multiples of it, in pixels of the input."""
        ...

    @property
    def again(self) -> Stage:
        """The stage that enlarges a result of this one further: without networks of scale 1, which run once."""
        ...

    def identity(self) -> str:
        """Return a hash of the weights, and how they are combined."""
        ...
