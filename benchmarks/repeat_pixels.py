"""A model that only repeats pixels, to measure the pipeline around a network."""

from __future__ import annotations

import torch
from spandrel import ImageModelDescriptor
from spandrel.architectures.Compact import CompactArch
from torch import Tensor, nn


class Repeat(nn.Module):
    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.one = nn.Parameter(torch.ones(1), requires_grad=False)  # gives the model a dtype and a device

    def forward(self, batch: Tensor) -> Tensor:
        return batch.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def repeating_model(scale: int) -> ImageModelDescriptor:
    net = Repeat(scale)
    return ImageModelDescriptor(
        net, net.state_dict(), architecture=CompactArch(), purpose="SR", tags=[], supports_half=False,
        supports_bfloat16=False, scale=scale, input_channels=3, output_channels=3,
    )  # fmt: skip
