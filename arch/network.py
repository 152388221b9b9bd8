"""The base class of all networks: how an image is computed in strips, and what a family says about itself.

The core asks these classes and knows no family by name. A new family is one file here, one in `weights` that reads its
checkpoints, and one line in the list of `weights.architectures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .layers import to_image
from .strips import StripPlan, Strips, gather

MIN_STRIP_ROWS = 16


@dataclass(frozen=True)
class NetworkConfig:
    """Hyper-parameters; every family has its own, with a scale and channels."""

    def flops(self, height: int, width: int) -> float | None:
        """Return the operations that the definition of the network takes for an image; None if not counted."""
        return None


@dataclass(frozen=True)
class Grid:
    """Where a network's tiles lie, in pixels of the input.

    Attributes:
        step: Origins of tiles are multiples of it.
        multiple: Sides of tiles are multiples of it; itself a multiple of `step`.
        overlap: The least context at each inner side of a tile.
    """

    step: int
    multiple: int
    overlap: int


class Network(nn.Module):
    """A network that computes images in strips.

    `forward` takes (B, in_channels, H, W) in [0, 1] of any size from 1x1, and returns (B, out_channels, sH, sW) in the
    dtype of its input, unclamped; at once, which is one strip.

    Attributes:
        config_class: The dataclass of its hyper-parameters; a network is built from one.
        fp32_layers: A regular expression of the names of layers whose weights stay in fp32 in half precision: those
            that read the trunk unnormalized, and the last one.
        cpu_tile: Side of the largest tile on a CPU: what it holds stays near the cache while the overlap costs little.
        compiles: Whether `compile="auto"` compiles it.
        edge_margin: Pixels by which the core continues an image beyond its edges. Set on a network that pads with zeros
            and has been measured to gain by it.
        strips_wait: Whether strips wait for others, so that a few of them take about as much memory as all at once.
    """

    config_class: ClassVar[type[NetworkConfig]]
    fp32_layers: ClassVar[str] = ""
    cpu_tile: ClassVar[int] = 512
    compiles: ClassVar[bool] = False
    strips_wait: ClassVar[bool] = False

    config: Any
    edge_margin: int = 0

    # --- computing ---

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        """Return the result for (B, in_channels, H, W), (B, rows, sW, out_channels) fp32 at a time."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        plan = StripPlan()
        return to_image(gather(self.strips(image, plan), plan), image.dtype)

    def work(self, height: int) -> int:
        """Return how many rows `StripPlan.report` is called with, in all sweeps over an image `height` rows high."""
        return height

    # --- tiles and strips ---

    def grid(self) -> Grid:
        """Return where tiles lie and how much they overlap."""
        raise NotImplementedError

    @property
    def row_multiple(self) -> int:
        """Rows of a strip are a multiple of it."""
        return MIN_STRIP_ROWS

    def min_rows(self, device: torch.device) -> int:
        """Return how many rows a strip has at least, where memory suffices."""
        return self.row_multiple

    # --- memory, counted from the widths of the layers ---

    def bytes_per_pixel(self, dtype: torch.dtype) -> int:
        """Return the bytes that are alive at once for each pixel of a tile, at most, with weights in `dtype`."""
        raise NotImplementedError

    def strip_bytes(self, height: int, width: int, rows: int, device: torch.device, dtype: torch.dtype) -> int:
        """Return the bytes that a whole image takes beside weights and result, in strips of `rows` rows, to 15 %."""
        raise NotImplementedError

    # --- training ---

    @torch.no_grad()
    def start_training(self) -> None:
        """Change the weights of a new network to those that training starts from."""
