"""Networks before their training, by the names of their families."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from ..arch.network import Network
from ..weights import architectures
from .errors import TrainingError

FAMILIES: dict[str, type[Network]] = {family.NAME: family.NETWORK for family in architectures.FAMILIES}


def build(family: str, hyperparameters: dict[str, Any], seed: int) -> nn.Module:
    """An untrained network with the family's own start, the same for the same seed. Raises TrainingError."""
    if family not in FAMILIES:
        raise TrainingError(f"There is no family {family!r}; there are {', '.join(FAMILIES)}")
    network = FAMILIES[family]
    known = {field.name for field in fields(network.config_class)}
    if unknown := sorted(set(hyperparameters) - known):
        raise TrainingError(f"{family} has no hyper-parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = network(network.config_class(**hyperparameters))
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise TrainingError(f"No {family} network can be built so: {error}") from error
    net.start_training()
    return channels_last(net)


def channels_last(net: nn.Module) -> nn.Module:
    """The layout that convolutions over features with channels last want."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return net


def take_trunk(net: nn.Module, other: dict[str, Tensor]) -> list[str]:
    """Copy every tensor of another network that has its name and shape here; returns the names of those left alone."""
    mine = net.state_dict()
    shared = {n: t for n, t in other.items() if n in mine and mine[n].shape == t.shape}
    if len(shared) < len(mine) // 2:
        raise TrainingError("The network to begin with has other hyper-parameters; hardly a tensor of it fits")
    net.load_state_dict(mine | shared)
    return [n for n in mine if n not in shared]
