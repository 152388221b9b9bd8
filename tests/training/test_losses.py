"""L1 asks for the median of what may be, L2 and "rms" for the mean; spectra are compared on request."""

from __future__ import annotations

import pytest
import torch
from supertile.training.errors import TrainingError
from supertile.training.losses import loss
from supertile.training.trainer import Trainer


def test_l1_asks_for_the_median_and_l2_for_the_mean():
    truths = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])[:, None, None, None]
    candidates = torch.linspace(0, 1, 101)

    def best(kind: str) -> float:
        values = [float(loss(x.expand_as(truths), truths, kind)) for x in candidates]
        return float(candidates[values.index(min(values))])

    assert best("l1") == 0
    assert best("l2") == pytest.approx(0.4)


def test_rms_asks_for_the_mean_too_and_gives_all_crops_a_say():
    truth = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])[None, None, None]
    candidates = torch.linspace(0, 1, 101)
    values = [float(loss(x.expand_as(truth), truth, "rms")) for x in candidates]
    assert float(candidates[values.index(min(values))]) == pytest.approx(0.4)

    def pulls(kind: str) -> list[float]:
        """How strongly a crop that is far from the truth pulls, and one that is nearer."""
        result = torch.tensor([0.5, 0.05])[:, None, None, None].repeat(1, 3, 4, 4).requires_grad_()
        loss(result, torch.zeros_like(result), kind).backward()
        return result.grad.flatten(1).norm(dim=1).tolist()

    far, near = pulls("rms")
    assert near == pytest.approx(far, rel=0.01)
    far, near = pulls("l2")
    assert near == pytest.approx(far / 10, rel=0.01)


def test_noise_has_a_larger_spectrum_than_a_wave_of_its_l1():
    wave = torch.sin(torch.arange(16) * torch.pi / 4).expand(1, 1, 16, 16)
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    noise = noise * wave.abs().mean() / noise.abs().mean()
    zero = torch.zeros_like(wave)
    assert float(loss(wave, zero)) == pytest.approx(float(loss(noise, zero)))
    assert float(loss(noise, zero, frequency_weight=0.1)) > float(loss(wave, zero, frequency_weight=0.1)) > 0


def test_errors_of_color_count_less_beside_those_of_luma():
    truth = torch.full((1, 3, 4, 4), 0.5)
    gray = truth + 0.1
    color = truth + torch.tensor([0.1, 0.1, -(0.299 + 0.587) / 0.114 * 0.1])[:, None, None]  # of the same luma
    assert float(loss(gray, truth, color_weight=0.3)) == pytest.approx(float(loss(gray, truth)))
    assert float(loss(color, truth, color_weight=0.3)) == pytest.approx(0.3 * float(loss(color, truth)))
    assert float(loss(color, truth, color_weight=0)) == pytest.approx(0, abs=1e-7)


def test_an_unknown_loss_is_said(corpus, config):
    with pytest.raises(TrainingError, match="no loss 'l3'; there are l1, l2"):
        Trainer(config(loss="l3"), corpus)
