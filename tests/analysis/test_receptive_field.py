"""Effective receptive fields: exact where the reach of kernels is known."""

from __future__ import annotations

import pytest
import torch
from supertile.analysis.gradients import Differentiable
from supertile.analysis.receptive_field import ReceptiveField, noise, receptive_field
from supertile.arch import VapSR, VapSRConfig
from supertile.inference import UpscaleError
from torch import nn


@pytest.mark.parametrize(("blocks", "scale"), [(1, 2), (2, 2), (2, 3), (1, 4)])
def test_vapsr_sees_what_its_kernels_reach_and_no_farther(randomized, described, blocks, scale):
    """A block reaches 2 + 6 pixels; the convolutions around the blocks and two of the head one each. The last of x4
    works on pixels half as large, and so may reach into the next."""
    config = VapSRConfig(scale=scale, num_feat=8, num_blocks=blocks, attention_dim=8)
    model = Differentiable(described(randomized(VapSR(config)), scale=scale), device="cpu")
    reach = 8 * blocks + 4
    found = receptive_field(model, noise(3, 2 * reach + 9, 3))
    assert found.farthest in ((reach - 1, reach) if scale == 4 else (reach,))
    assert found.magnitude[found.distances > reach].abs().max() == 0


def test_numbers_of_a_field_known_by_hand(described):
    """A 3x3 kernel: 0.5 in its middle, 0.1 at one side, 0.01 at a corner."""
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    kernel = torch.tensor([[0.01, 0, 0], [0, 0.5, 0.1], [0, 0, 0]])
    conv.weight.data = kernel[None, None]
    model = described(nn.Sequential(conv), scale=1)
    model.input_channels = 1
    found = receptive_field(Differentiable(model, device="cpu"), noise(1, 9, 2))
    torch.testing.assert_close(found.magnitude[3:6, 3:6], kernel.double())
    torch.testing.assert_close(found.energy[3:6, 3:6], kernel.double().square())
    assert found.magnitude.sum().item() == pytest.approx(0.61)
    assert (found.radius(0.5), found.radius(0.95), found.radius(0.99)) == (0, 0, 1)
    assert (found.radius(0.5, "magnitude"), found.radius(0.95, "magnitude")) == (0, 1)
    assert found.farthest == 1


def test_radii_are_of_squares():
    field = torch.zeros(11, 11, dtype=torch.float64)
    field[5, 5], field[2, 4], field[5, 9] = 50, 45, 5
    found = ReceptiveField(field, field, 1)
    assert [found.radius(share) for share in (0.5, 0.95, 0.96, 1)] == [0, 3, 4, 4]
    assert found.farthest == 4


def test_images_of_two_sizes_are_refused(enlarger):
    with pytest.raises(UpscaleError, match="one size"):
        receptive_field(Differentiable(enlarger(), device="cpu"), [torch.rand(3, 8, 8), torch.rand(3, 8, 9)])
