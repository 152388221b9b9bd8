"""Models for the inference core: a small VapSR, and networks whose results are known beforehand, as descriptors."""

from __future__ import annotations

import pytest
from spandrel import ImageModelDescriptor
from supertile.arch import VapSR, VapSRConfig
from supertile.weights.architectures import build_descriptor
from supertile.weights.shapes import KnownArguments


@pytest.fixture(scope="session")
def vapsr(randomized) -> ImageModelDescriptor:
    """A small VapSR x2 with weights that matter. What it sees of an image lies within 13 pixels."""
    from supertile.weights import vapsr as family

    net = randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)))
    net.upsampler[2].bias.data += 0.5
    net.upsampler[2].weight.data *= 0.2  # most of its output lies within [0, 1]
    return build_descriptor(family, net.state_dict(), KnownArguments())
