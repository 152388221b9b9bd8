"""One network with the same weights in the implementations of Supertile, spandrel and its authors."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelLoader
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
    """Return the hyper-parameters of our class; None for other architectures."""
    if network.file is not None:
        built = network_without_weights(network.file) if network.family in CONFIGS else None
        return None if built is None else built.config
    return CONFIGS[network.family](**network.config) if network.family in CONFIGS else None


def ours(network: Network) -> ImageModelDescriptor[nn.Module]:
    """Return the network as `load_model` does. Random weights are seeded: the same in every process."""
    if network.file is not None:
        return load_model(network.file)
    torch.manual_seed(0)
    if network.family not in CONFIGS:
        return _of_spandrel(network)
    family = next(f for f in FAMILIES if network.family == f.NAME)
    return build_descriptor(family, family.build(config_of(network)).state_dict(), KnownArguments())


def plain(network: Network) -> nn.Module:
    """Return our network in plain PyTorch: without the memory layout of `load_model` and without an Upscaler."""
    model = ours(network).model
    assert isinstance(model, (HAT, VapSR, HiTSR))
    fresh = type(model)(model.config)
    fresh.load_state_dict(model.state_dict())
    return fresh.eval().requires_grad_(False)


def as_comfyui_opens_it(network: Network) -> ImageModelDescriptor[nn.Module]:
    """Return what ComfyUI would load if it knew nothing of our HAT: spandrel's class, or ours where it has none."""
    model = ours(network)
    if not is_ours(model.model):
        return model
    return _loaded_by_spandrel(model.model)


def spandrels(network: Network) -> ImageModelDescriptor[nn.Module]:
    """Return spandrel's own implementation. Raises BenchError if it has none."""
    model = as_comfyui_opens_it(network)
    if is_ours(model.model):
        raise BenchError(f"spandrel has no {network.family} of its own")
    return model


def officials(network: Network, checkout: Path) -> nn.Module:
    """Return the authors' implementation. Raises BenchError if the checkout or a package that it needs is missing."""
    model = ours(network).model
    theirs = peers.official(network.family, checkout, model.config)
    missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
    different = [name for name in missing if "relative_position_index" not in name] + unexpected
    if different:
        raise BenchError(f"the authors' {network.family} has other tensors than ours ({different[0]})")
    return theirs.eval().requires_grad_(False)


def _loaded_by_spandrel(model: nn.Module) -> ImageModelDescriptor[nn.Module]:
    state: dict[str, Tensor] = dict(model.state_dict())
    loader = ModelLoader().load_from_state_dict
    if isinstance(model, HAT):  # spandrel recognizes HAT and its window size by these buffers
        c = model.config
        state["relative_position_index_SA"] = window_bias_index(c.window_size)
        state["relative_position_index_OCA"] = overlap_bias_index(c.window_size, c.overlap_window)
        loader = MAIN_REGISTRY["HAT"].architecture.load  # not by detection, which finds ours first
    loaded = loader(state)
    assert isinstance(loaded, ImageModelDescriptor)
    loaded.model.eval().requires_grad_(False)
    return loaded


def _of_spandrel(network: Network) -> ImageModelDescriptor[nn.Module]:
    """Return an architecture of spandrel with its default hyper-parameters."""
    family, _, name = network.family.partition(".")
    module = importlib.import_module(f"spandrel.architectures.{family}")
    state = getattr(module, name or family)(**network.config).state_dict()
    loaded = getattr(module, f"{family}Arch")().load(state)
    loaded.model.eval().requires_grad_(False)
    return loaded
