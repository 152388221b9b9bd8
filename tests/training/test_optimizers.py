"""Muon moves all directions of a matrix equally far; every weight has one optimizer; trainings with it repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from supertile.training import optimizers
from supertile.training.errors import TrainingError
from supertile.training.networks import build
from supertile.training.optimizers import Muon, orthogonalized
from supertile.training.trainer import Trainer
from torch import nn


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 32, 64), (2, 64, 9)])
def test_singular_values_become_about_one_and_directions_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    result = orthogonalized(matrices)
    assert result.shape == shape
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    along = torch.diagonal(left.mT @ result @ right.mT, dim1=-2, dim2=-1)
    steep = values > 0.1 * values.amax(-1, keepdim=True)
    assert along[steep].min() > 0.6
    assert along[steep].max() < 1.3


def test_a_step_has_the_length_of_adams():
    weight = nn.Parameter(torch.zeros(64, 32, 1, 1))
    weight.grad = torch.randn(64, 32, 1, 1, generator=torch.Generator().manual_seed(1)) * 1e-4
    Muon([weight], lr=0.1).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.02, rel=0.3)
    assert float((weight.detach() * weight.grad).sum()) < 0


def test_every_weight_has_one_optimizer():
    net = build("VapSR", {"num_feat": 16, "num_blocks": 1, "attention_dim": 16, "conv_groups": 2}, 0)
    adam, muon = optimizers.make("muon", net, 1e-3)
    groups = [group["params"] for optimizer in (adam, muon) for group in optimizer.param_groups]
    weights = [id(weight) for group in groups for weight in group]
    assert sorted(weights) == sorted(id(weight) for weight in net.parameters())
    in_muon = {id(weight) for weight in muon.param_groups[0]["params"]}
    assert id(net.body[0].proj_1.weight) in in_muon
    assert not in_muon & {id(net.conv_body.weight), id(net.body[0].atten_branch.depthwise.weight)}
    assert len(optimizers.make("adam", net, 1e-3)) == 1
    with pytest.raises(TrainingError, match="no optimizer 'sgd'; there are adam, muon"):
        optimizers.make("sgd", net, 1e-3)


def test_a_training_with_muon_learns_and_goes_on_as_it_would_have(corpus, config, tmp_path):
    whole = Trainer(config(optimizer="muon", steps=60, learning_rate=2e-3), corpus)
    losses = list(whole.run())
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    begun, resumed = (Trainer(whole.config, corpus) for _ in range(2))
    first = list(begun.run(9))
    begun.save(tmp_path / "state.pt")
    resumed.load(tmp_path / "state.pt")
    assert first + list(resumed.run()) == losses
    with pytest.raises(TrainingError, match="is a training of optimizer muon, not adam"):
        Trainer(config(), corpus).load(tmp_path / "state.pt")
