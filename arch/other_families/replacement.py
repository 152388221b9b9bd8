"""The base class of modules that stand in the place of spandrel's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Replacement(nn.Module):
    """Computes itself what the modules in it are for; few of them are called."""

    @staticmethod
    def can_run(x: Tensor, weight: Tensor) -> bool:
        """Return False for gradients, which do not pass, and for another precision than that of the weights."""
        is_other = torch.is_autocast_enabled(x.device.type) or x.dtype != weight.dtype
        return not (torch.is_grad_enabled() or is_other)
