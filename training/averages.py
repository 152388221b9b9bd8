"""The moving average of a network's weights, which is what is measured and exported."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average; young ones forget faster, so that the random start is not remembered."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Called after step `step`, from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = [t for t in self.net.state_dict().values() if t.is_floating_point()]
        new = [t for t in net.state_dict().values() if t.is_floating_point()]
        torch._foreach_lerp_(mine, new, 1 - decay)
