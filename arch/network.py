"""What every network of this package is: an nn.Module that computes images in strips."""

from __future__ import annotations

from torch import Tensor, nn

from .layers import to_image
from .strips import StripPlan, Strips, gather


class Network(nn.Module):
    """A network that computes images in strips.

    `forward` takes (B, in_channels, H, W) in [0, 1] of any size from 1x1, and returns (B, out_channels, sH, sW) in the
    dtype of its input, unclamped; at once, which is one strip.
    """

    def work(self, height: int) -> int:
        """Return how many rows `StripPlan.report` is called with, in all sweeps over an image `height` rows high."""
        return height

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        """Return the result for (B, in_channels, H, W), (B, rows, sW, out_channels) fp32 at a time."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        plan = StripPlan()
        return to_image(gather(self.strips(image, plan), plan), image.dtype)
