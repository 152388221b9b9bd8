"""The identity of a network changes with all that decides its results."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from supertile.arch.hitsr import HiTSR
from supertile.arch.hitsr_config import HiTSRConfig
from supertile.arch.vapsr import VapSR, VapSRConfig
from supertile.inference.identity import weights_hash

CONFIG = VapSRConfig(scale=2, num_feat=16, num_blocks=1, attention_dim=16)


def network(config: VapSRConfig = CONFIG, seed: int = 0) -> VapSR:
    torch.manual_seed(seed)
    return VapSR(config)


def test_equal_networks_have_one_identity():
    assert weights_hash(network()) == weights_hash(network())


def test_other_weights_have_another():
    assert weights_hash(network()) != weights_hash(network(seed=1))


@pytest.mark.parametrize("change", [{"mean": (0.5, 0.5, 0.5)}, {"img_range": 255.0}])
def test_so_has_another_configuration_of_the_same_weights(change):
    config = HiTSRConfig(scale=2, embed_dim=12, depths=(1,), num_heads=(2,))
    hashes = []
    for each in (config, replace(config, **change)):
        torch.manual_seed(0)
        hashes.append(weights_hash(HiTSR(each)))
    assert hashes[0] != hashes[1]
