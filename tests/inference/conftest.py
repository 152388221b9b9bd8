"""Models for the inference core: a small VapSR, and networks whose results are known beforehand, as descriptors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from spandrel import ImageModelDescriptor, ModelTiling
from spandrel.architectures.Compact import CompactArch
from supertile.arch import VapSR, VapSRConfig
from supertile.weights.architectures import build_descriptor
from supertile.weights.shapes import Hints
from torch import Tensor, nn


class Enlarger(nn.Module):
    """Repeats every pixel `scale` times; what it is given and what happens before is told to `before`."""

    def __init__(self, scale: int = 2, before: Callable[[Tensor], None] = lambda batch: None) -> None:
        super().__init__()
        self.scale, self.before = scale, before
        self.one = nn.Parameter(torch.ones(1), requires_grad=False)
        self.batches: list[tuple[int, ...]] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.before(batch)
        self.batches.append((batch.shape[0], *batch.shape[2:]))
        return batch.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3) * self.one


@pytest.fixture(scope="session")
def described() -> Callable[..., ImageModelDescriptor]:
    """Any network as spandrel would hand it over, of no family of ours."""

    def describe(net: nn.Module, scale: int = 2, tiling: ModelTiling = ModelTiling.SUPPORTED) -> ImageModelDescriptor:
        return ImageModelDescriptor(
            net, net.state_dict(), architecture=CompactArch(), purpose="SR", tags=[], supports_half=True,
            supports_bfloat16=True, scale=scale, input_channels=3, output_channels=3, tiling=tiling,
        )  # fmt: skip

    return describe


@pytest.fixture(scope="session")
def enlarger(described) -> Callable[..., ImageModelDescriptor]:
    return lambda *arguments, **options: described(Enlarger(*arguments, **options))


@pytest.fixture(scope="session")
def vapsr(randomised) -> ImageModelDescriptor:
    """A small VapSR x2 with weights that matter. What it sees of a picture lies within 13 pixels."""
    from supertile.weights import vapsr as family

    net = randomised(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)))
    net.upsampler[2].bias.data += 0.5
    net.upsampler[2].weight.data *= 0.2  # most of its output lies within [0, 1]
    return build_descriptor(family, net.state_dict(), Hints())
