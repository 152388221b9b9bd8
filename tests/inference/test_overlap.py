"""The overlap of networks of which nothing is known: measured, and never less than what they see."""

from __future__ import annotations

import pytest
import torch
from spandrel import ModelTiling
from supertile.inference import network_stage
from supertile.inference import overlap as measured
from supertile.inference.upscaler import Upscaler
from torch import Tensor, nn


class Reaching(nn.Module):
    """Adds a share of the pixel `reach` columns to the left, and enlarges by repeating."""

    def __init__(self, reach: int, share: float = 0.2) -> None:
        super().__init__()
        kernel = torch.zeros(3, 1, 3, 3)
        kernel[:, :, 1, 1], kernel[:, :, 1, 0] = 1 - share, share
        self.weight = nn.Parameter(kernel, requires_grad=False)
        self.reach, self.calls = reach, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = nn.functional.conv2d(x, self.weight, padding=self.reach, dilation=self.reach, groups=3)
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Average(Reaching):
    """Sees the whole image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5 + x.mean() * 0.5


def test_errors_end_where_the_network_sees_no_farther(described):
    errors = measured.errors_by_distance(described(Reaching(21)), measured.noise_image(3), measured.CUT)
    assert errors.shape == (measured.WIDTH - measured.CUT,)
    assert errors[:21].min() > 0.01
    assert errors[21:].max() == 0


@pytest.mark.parametrize(("reach", "overlap"), [(1, 16), (12, 16), (13, 24), (19, 32), (25, 48), (37, 64)])
def test_the_overlap_is_the_least_whose_inner_three_quarters_are_exact(described, reach, overlap):
    """A quarter of it, at most, is where two tiles go over into each other."""
    assert measured.needed_overlap(described(Reaching(reach))) == overlap


def test_little_is_left_out_only_above_the_usual_overlap(described):
    """Below 32 a difference counts that could not be seen; so nobody's result is farther off than it was."""
    assert measured.needed_overlap(described(Reaching(20, share=1e-4))) == 32
    assert measured.needed_overlap(described(Reaching(60, share=1e-4))) == 32
    assert measured.needed_overlap(described(Reaching(40, share=0.2))) == 64


def test_what_no_overlap_cures_keeps_the_usual_one(described):
    assert measured.needed_overlap(described(Reaching(60))) == 32
    assert measured.needed_overlap(described(Average(1))) == 32


def test_doubtful_networks_are_not_even_run(described, monkeypatch):
    half = Reaching(1).half()
    discouraged = Reaching(1)
    large = Reaching(1)
    assert measured.needed_overlap(described(half)) == 32
    assert measured.needed_overlap(described(discouraged, tiling=ModelTiling.DISCOURAGED)) == 32
    monkeypatch.setattr(measured, "MAX_PARAMETERS", 26)
    assert measured.needed_overlap(described(large)) == 32
    assert half.calls == discouraged.calls == large.calls == 0


def test_a_network_that_fails_on_the_small_image_keeps_the_usual_overlap(described):
    class Picky(Reaching):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] < 100:
                raise RuntimeError("too small")
            return super().forward(x)

    upscaler = Upscaler(described(Picky(1)), device="cpu", tile=128)
    assert upscaler(torch.rand(1, 3, 150, 130)).shape == (1, 3, 300, 260)
    assert upscaler.overlap == 32


def test_it_is_measured_once_and_only_where_tiles_are_needed(described, monkeypatch):
    monkeypatch.setattr(network_stage, "in_fast_layout", lambda descriptor: descriptor)  # which runs the network too
    net = Reaching(5)
    model = described(net)
    upscaler = Upscaler(model, device="cpu", tile=96)
    upscaler(torch.rand(1, 3, 96, 96))
    assert net.calls == 1
    for _ in range(2):
        upscaler = Upscaler(model, device="cpu", tile=96)
        assert upscaler.plan(200, 96).rows.tile <= 96
        assert upscaler.overlap == 16
    assert net.calls == 1 + 2  # the image as a whole, and cut
    assert Upscaler(model, device="cpu", overlap=7).overlap == 7


def test_tiles_with_the_measured_overlap_are_the_whole_image(described):
    model = described(Reaching(25))
    image = torch.rand(1, 3, 210, 190, generator=torch.Generator().manual_seed(1))
    whole = Upscaler(model, device="cpu", tile="whole")(image)
    tiled = Upscaler(model, device="cpu", tile=150)
    assert len(tiled.plan(210, 190)) > 1
    torch.testing.assert_close(tiled(image), whole, atol=1e-6, rtol=0)
    worse = Upscaler(model, device="cpu", tile=150, overlap=16)(image)
    assert (worse - whole).abs().max() > 0.01
