"""A VapSR that grows computes what it did, and its new blocks learn."""

from __future__ import annotations

import pytest
import torch
from supertile.training import growth
from supertile.training.corpus import Corpus
from supertile.training.networks import build
from supertile.training.trainer import Trainer

SIZES = {"num_feat": 16, "attention_dim": 16, "scale": 2}


def randomized(blocks: int) -> torch.nn.Module:
    net = build("VapSR", {**SIZES, "num_blocks": blocks}, seed=blocks).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 3), (3, 7), (4, 5)])
@torch.no_grad()
def test_a_deeper_network_computes_the_same(old, new):
    small, large = randomized(old), randomized(new)
    image = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    expected = small(image)
    assert (large(image) - expected).abs().mean() > 0.05
    large.load_state_dict(growth.deepened(small.state_dict(), large.state_dict()))
    torch.testing.assert_close(large(image), expected, atol=2e-3, rtol=0)


def test_old_blocks_lie_evenly_and_keep_their_maps():
    small, large = randomized(2), randomized(6)
    weights = growth.deepened(small.state_dict(), large.state_dict())
    added = [at for at in range(6) if not weights[f"body.{at}.proj_2.weight"].any()]
    assert added == [1, 2, 4, 5]
    for at, source in ((0, 0), (3, 1)):
        assert torch.equal(weights[f"body.{at}.proj_1.weight"], small.state_dict()[f"body.{source}.proj_1.weight"])


def test_a_training_begins_with_a_smaller_network(corpus_folder, config):
    small = randomized(1).state_dict()
    trainer = Trainer(config(network={**SIZES, "num_blocks": 3}), Corpus(corpus_folder, 2))
    assert trainer.begin_with(small) == []
    assert not trainer.net.body[1].proj_2.weight.any()
    assert not trainer.average.net.body[1].proj_2.weight.any()
    list(trainer.run(2))
    assert trainer.net.body[1].proj_2.weight.any()
