"""Trainings lower their loss, repeat, and go on after an interruption as if there had been none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from supertile.training.config import CONFIGS, NETWORKS
from supertile.training.errors import TrainingError
from supertile.training.networks import build
from supertile.training.trainer import Trainer


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.net.parameters()])


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in an order that does not depend on how busy the machine is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_200_steps_lower_the_loss_and_repeat_with_the_same_seed(corpus, config):
    first, second = Trainer(config(), corpus), Trainer(config(), corpus)
    losses = list(first.run())
    assert first.step == len(losses) == 200
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])
    assert losses == list(second.run())
    assert torch.equal(weights(first), weights(second))
    other = Trainer(config(seed=1), corpus)
    assert losses[:3] != list(other.run(3))


def test_an_interrupted_training_goes_on_as_it_would_have(corpus, config, tmp_path):
    whole = Trainer(config(steps=20), corpus)
    losses = list(whole.run())
    begun = Trainer(config(steps=20), corpus)
    first = list(begun.run(9))
    begun.save(tmp_path / "state.pt")
    resumed = Trainer(config(steps=20), corpus)
    resumed.load(tmp_path / "state.pt")
    assert resumed.step == 9
    assert first + list(resumed.run()) == losses
    assert torch.equal(weights(resumed), weights(whole))
    averages = [t.average.net.state_dict() for t in (resumed, whole)]
    assert all(torch.equal(averages[0][name], tensor) for name, tensor in averages[1].items())


@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("HAT", {"embed_dim": 12, "depths": (1,), "num_heads": (2,), "window_size": 4, "overlap_window": 6,
                 "compress_dim": 4, "squeeze_dim": 3, "mlp_dim": 16, "oca_mlp_dim": 16, "num_feat": 8}),
        ("HiT-SR", {"embed_dim": 20, "depths": (2,), "num_heads": (2,), "window_ratios": (0.5, 1), "mlp_dim": 40}),
    ],
)  # fmt: skip
def test_every_family_learns(corpus, config, family, network):
    trainer = Trainer(config(family=family, network=network, steps=30, learning_rate=3e-3), corpus)
    losses = list(trainer.run())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_scale_begins_with_the_trunk_of_another(corpus_folder, config):
    from supertile.training.corpus import Corpus

    small = Trainer(config(), Corpus(corpus_folder, 2))
    large = Trainer(config(scale=4, seed=5), Corpus(corpus_folder, 4))
    left = large.begin_with(small.average.net.state_dict())
    assert left
    assert all(name.startswith("upsampler.") for name in left)
    assert torch.equal(large.net.body[0].proj_1.weight, small.net.body[0].proj_1.weight)
    assert torch.equal(large.average.net.body[0].proj_1.weight, small.net.body[0].proj_1.weight)
    with pytest.raises(TrainingError, match="other hyper-parameters"):
        large.begin_with({"conv_first.weight": torch.zeros(1)})


def test_what_cannot_go_on_is_said(corpus, config, tmp_path):
    trainer = Trainer(config(), corpus)
    trainer.save(tmp_path / "state.pt")
    with pytest.raises(TrainingError, match="is a training of network"):
        Trainer(config(network={"num_feat": 16, "num_blocks": 2, "attention_dim": 16}), corpus).load(
            tmp_path / "state.pt"
        )
    (tmp_path / "damaged.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"damaged.pt is no checkpoint"):
        trainer.load(tmp_path / "damaged.pt")
    with pytest.raises(TrainingError, match="no checkpoint"):
        trainer.load(tmp_path / "none.pt")


def test_a_training_that_diverges_ends(corpus, config):
    trainer = Trainer(config(), corpus)
    with torch.no_grad():
        trainer.net.conv_first.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="The loss of step 0 is nan"):
        list(trainer.run())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_untrained_vapsr_enlarges_already(scale):
    net = build("VapSR", {"scale": scale, "num_feat": 16, "num_blocks": 1, "attention_dim": 16}, seed=0)
    ramp = torch.linspace(0.2, 0.8, 24)[None, None, None].expand(1, 3, 24, 24)
    with torch.no_grad():
        error = (net(ramp) - torch.nn.functional.interpolate(ramp, scale_factor=scale, mode="bilinear")).abs()
    assert error[..., 16:-16, 16:-16].mean() < 0.03


def test_an_unknown_network_is_said():
    with pytest.raises(TrainingError, match="no family 'SwinIR'"):
        build("SwinIR", {}, 0)
    with pytest.raises(TrainingError, match="no hyper-parameter 'width'"):
        build("VapSR", {"width": 3}, 0)


@pytest.mark.parametrize(("name", "parameters"), [("VapSR-S", 156_964), ("HAT-S", 9_473_471), ("HiT-SIR", 772_064)])
def test_published_names_are_the_published_networks(name, parameters):
    settings = CONFIGS["pretrain"](NETWORKS[name], 2)
    net = build(settings.family, {**settings.network, "scale": 2}, seed=0)
    assert sum(p.numel() for p in net.parameters()) == parameters
    finer = CONFIGS["finetune"](NETWORKS[name], 2)
    assert finer.learning_rate < settings.learning_rate
    assert finer.network == settings.network
