"""The same network by us, by spandrel and by its authors, with the same weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from spandrel import ImageModelDescriptor, ModelLoader
from torch import Tensor, nn

from ..arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from ..arch.hat import overlap_bias_index, window_bias_index
from ..inference.precision import is_ours
from ..weights.architectures import FAMILIES, build_descriptor
from ..weights.loader import load_model, network_without_weights
from ..weights.shapes import KnownArguments
from . import peers
from .cases import Network
from .errors import BenchError

CONFIGS: dict[str, type] = {"HAT": HATConfig, "VapSR": VapSRConfig, "HiT-SR": HiTSRConfig}


def config_of(network: Network) -> Any:
    """Hyper-parameters of our class; None for the families of others."""
    if network.file is not None:
        found = network_without_weights(network.file) if network.family in CONFIGS else None
        return None if found is None else found.config
    return CONFIGS[network.family](**network.config) if network.family in CONFIGS else None


def ours(network: Network) -> ImageModelDescriptor[nn.Module]:
    """As `load_model` gives it. Random weights come from a seed, so they are the same in every process."""
    if network.file is not None:
        return load_model(network.file)
    torch.manual_seed(0)
    if network.family not in CONFIGS:
        return _of_spandrel(network)
    family = next(f for f in FAMILIES if network.family == f.NAME)
    return build_descriptor(family, family.build(config_of(network)).state_dict(), KnownArguments())


def plain(network: Network) -> nn.Module:
    """Our network as PyTorch makes it from its class: no layout of its weights, nothing of the core around it."""
    model = ours(network).model
    assert isinstance(model, (HAT, VapSR, HiTSR))
    fresh = type(model)(model.config)  # type: ignore[arg-type]
    fresh.load_state_dict(model.state_dict())
    return fresh.eval().requires_grad_(False)


def as_comfyui_opens_it(network: Network) -> ImageModelDescriptor[nn.Module]:
    """What spandrel makes of the weights: its own class, or ours where it knows the family through this package."""
    model = ours(network)
    if not is_ours(model.model):
        return model
    return _loaded_by_spandrel(model.model)


def spandrels(network: Network) -> ImageModelDescriptor[nn.Module]:
    """spandrel's own class. Raises BenchError where it has none."""
    model = as_comfyui_opens_it(network)
    if is_ours(model.model):
        raise BenchError(f"spandrel has no {network.family} of its own")
    return model


def officials(network: Network, checkout: Path) -> nn.Module:
    """The authors' network. Raises BenchError where the checkout or what it needs is missing."""
    model = ours(network).model
    theirs = peers.official(network.family, checkout, model.config)
    missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
    left = [name for name in missing if "relative_position_index" not in name] + unexpected
    if left:
        raise BenchError(f"the authors' {network.family} has other tensors than ours ({left[0]})")
    return theirs.eval().requires_grad_(False)


def _loaded_by_spandrel(model: nn.Module) -> ImageModelDescriptor[nn.Module]:
    state: dict[str, Tensor] = dict(model.state_dict())
    if isinstance(model, HAT):  # by these spandrel knows a HAT and the size of its windows
        c = model.config
        state["relative_position_index_SA"] = window_bias_index(c.window_size)
        state["relative_position_index_OCA"] = overlap_bias_index(c.window_size, c.overlap_window)
    loaded = ModelLoader().load_from_state_dict(state)
    assert isinstance(loaded, ImageModelDescriptor)
    loaded.model.eval().requires_grad_(False)
    return loaded


def _of_spandrel(network: Network) -> ImageModelDescriptor[nn.Module]:
    """An architecture of spandrel's at its own defaults."""
    module = importlib.import_module(f"spandrel.architectures.{network.family}")
    state = getattr(module, network.family)(**network.config).state_dict()
    loaded = getattr(module, f"{network.family}Arch")().load(state)
    loaded.model.eval().requires_grad_(False)
    return loaded
