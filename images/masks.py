"""Where the network's result is wanted in an image, as a mask of any size states it."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..inference.combined_stages import enlarged_mask, widened
from ..inference.errors import UpscaleError
from ..inference.resample import resample

_RAMP = 4
"""Half the width of the border over which the network's result fades out, outside of the mask, in source pixels."""
_BESIDE = 4
"""Source pixels beyond the border that resampling the network's result to another size may look at."""


@dataclass(frozen=True)
class Region:
    """The part of an image that the network computes.

    Attributes:
        weight: (H, W) in [0, 1], of the network's result at each pixel of the source.
    """

    weight: Tensor

    @property
    def empty(self) -> bool:
        """True if nothing is to be computed."""
        return not bool(self.weight.any())

    def weight_at(self, width: int, height: int) -> Tensor:
        """Return the weight at each pixel of the result, (height, width)."""
        return F.interpolate(self.weight[None, None], (height, width), mode="bilinear")[0, 0]

    def needed(self, scale: int, beside: int) -> Tensor:
        """Return the pixels of the model's input that need a result, (scale * H, scale * W) bool.

        Args:
            scale: of the input, in relation to the source.
            beside: pixels of the source that later runs of the model look at around what they compute.
        """
        return enlarged_mask(widened(self.weight > 0, _BESIDE + beside), scale)


def region_of(mask: Tensor, width: int, height: int) -> Region:
    """Return the region that a mask marks in an image of width x height, with a border that fades out around it.

    Args:
        mask: (H', W') of any size, which is resized to the image's; 1 where the network's result is wanted, 0 where
            not. Values between them are its share.

    Raises:
        UpscaleError: not a plane of numbers.
    """
    if mask.dim() != 2 or min(mask.shape) < 1:
        raise UpscaleError(f"a mask is one plane of pixels (H, W), not of the shape {tuple(mask.shape)}")
    if not bool(mask.isfinite().all()):
        raise UpscaleError("the mask holds values that are not numbers (NaN or infinity); make it anew")
    share = resample(mask.to("cpu").float().clamp(0, 1), (width, height)).clamp_(0, 1)
    share = share.where(share > 1 / 512, 0)  # less than any code of 8 bits is no mark
    wide = F.max_pool2d(share[None, None], 2 * _RAMP + 3, 1, _RAMP + 1)  # the ramp begins a pixel beside the mask
    padded = F.pad(wide, (_RAMP,) * 4, "replicate")
    weight = F.avg_pool2d(padded, 2 * _RAMP + 1, 1)[0, 0]
    return Region(weight.where(weight < 1 - 1e-5, 1))  # exactly, so that the network's result is not changed there
