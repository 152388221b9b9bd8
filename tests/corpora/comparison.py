"""`Comparison`: what became of one file, and the network that makes results comparable with their sources."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from spandrel import ImageModelDescriptor
from spandrel.architectures.Compact import CompactArch
from supertile import Upscaler
from torch import Tensor, nn

EQUAL = "equal"
DEVIATING = "deviating"
REFUSED_BY_BOTH = "refused by both"
REFUSED_BY_US = "refused by us only"
READ_BY_US = "read by us only"
WRONG_EXCEPTION = "wrong exception"
CRASH = "crash"
HANG = "hang"
FAILURES = (WRONG_EXCEPTION, CRASH, HANG)


@dataclass
class Comparison:
    """The outcome of one file.

    Attributes:
        outcome: one of the constants above.
        details: what differs and by how much, or the error.
        warnings: what Supertile warned of.
    """

    outcome: str
    details: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Doubler(nn.Module):
    """Repeat every pixel, so that every second one of a result is one of the source."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, batch: Tensor) -> Tensor:
        return batch.repeat_interleave(2, 2).repeat_interleave(2, 3)


def doubling_upscaler() -> Upscaler:
    """Return an Upscaler whose results repeat every pixel."""
    network = Doubler()
    model = ImageModelDescriptor(
        network, network.state_dict(), architecture=CompactArch(), purpose="SR", tags=[], supports_half=False,
        supports_bfloat16=False, scale=2, input_channels=3, output_channels=3,
    )  # fmt: skip
    return Upscaler(model, device="cpu", precision="fp32")
