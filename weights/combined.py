"""Combine models into one: several one after the other, or a blend of two.

What comes out is an image model like any other, so every program that takes spandrel's models can use it. An Upscaler
takes it apart again and computes each network as it would alone, with its own tiles and strips.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import torch
from spandrel import Architecture, ImageModelDescriptor, ModelTiling, StateDict
from torch import Tensor, nn

from ..arch.layers import reflect_to
from ..arch.network import Network
from .architectures import SupertileArchitecture, build_with_config
from .errors import CombinationError
from .loader import load_model
from .naming import name_of, note_source
from .state_dicts import interpolated

Model: TypeAlias = ImageModelDescriptor[nn.Module] | str | Path


class _Facts(tuple[ImageModelDescriptor[nn.Module], ...]):
    """Models without their networks. Copies of a combined network share them."""

    def __deepcopy__(self, memo: object) -> _Facts:
        return self


class CombinedNetwork(nn.Module):
    """The networks of several models, as one network.

    `forward` takes (B, C, H, W) in [0, 1] of any size and returns (B, C', sH, sW) in [0, 1].
    """

    def __init__(self, models: Sequence[ImageModelDescriptor[nn.Module]]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(model.model for model in models)
        self._facts = _Facts(_with_network(model, None) for model in models)

    def parts(self) -> list[ImageModelDescriptor[nn.Module]]:
        """Return the models, each with its network as it is now, on whatever device."""
        return [_with_network(model, network) for model, network in zip(self._facts, self.networks, strict=True)]


def _with_network(model: ImageModelDescriptor[nn.Module], network: Any) -> ImageModelDescriptor[nn.Module]:
    model = copy.copy(model)
    model._model = network
    return model


class ChainNetwork(CombinedNetwork):
    """Networks one after the other."""

    def forward(self, image: Tensor) -> Tensor:
        return reduce(lambda larger, part: _run(part, larger), self.parts(), image)


class AverageNetwork(CombinedNetwork):
    """Two networks beside each other, and the mean of their results.

    Attributes:
        weight: of the second, from 0 to 1.
    """

    def __init__(self, models: Sequence[ImageModelDescriptor[nn.Module]], weight: float) -> None:
        super().__init__(models)
        self.weight = weight

    def forward(self, image: Tensor) -> Tensor:
        first, second = (_run(part, image) for part in self.parts())
        return torch.lerp(first, second, self.weight)


def chain_models(*models: Model) -> ImageModelDescriptor[nn.Module]:
    """Return one model that runs several one after the other: a repair at 1x, then an upscaler.

    Its scale is the product of theirs. Where its result is still too small for a size, it runs again without the models
    of scale 1.

    Args:
        models: in the order in which they run, as `load_model` or spandrel returns them, or names or paths for
            `load_model`. Their networks are shared, not copied.

    Raises:
        CombinationError: no models, or one that does not take the channels of the one before.
        CheckpointError: a file cannot be loaded.
    """
    loaded = [_loaded(model) for model in models]
    if not loaded:
        raise CombinationError("A chain needs at least one model.")
    for first, then in pairwise(loaded):
        if first.output_channels != then.input_channels:
            raise CombinationError(
                f"{name_of(then)} takes images of {then.input_channels} channels, but {name_of(first)}, which comes "
                f"before it, returns {first.output_channels}; choose models of equal channels."
            )
    scale = reduce(lambda product, model: product * model.scale, loaded, 1)
    chain = _descriptor(
        ChainNetwork(loaded), loaded, scale, ", then ".join(model.architecture.name for model in loaded)
    )
    note_source(chain, ", then ".join(map(name_of, loaded)))
    return chain


def blend_models(first: Model, second: Model, weight: float) -> ImageModelDescriptor[nn.Module]:
    """Return a model between two.

    Of two models of one architecture and one size, the weights are interpolated: the result is as fast as one of them.
    Of others, the results are averaged, and both run.

    Args:
        first, second: as for `chain_models`; they stay as they are.
        weight: of the second, from 0 to 1.

    Raises:
        CombinationError: their scales or channels differ.
        CheckpointError: a file cannot be loaded.
        ValueError: `weight` is not from 0 to 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"a weight is a number from 0 to 1, not {weight!r}")
    first, second = _loaded(first), _loaded(second)
    if first.scale != second.scale:
        raise CombinationError(
            f"{name_of(first)} enlarges {first.scale}x and {name_of(second)} {second.scale}x; only models of equal "
            "scale can be blended."
        )
    if (first.input_channels, first.output_channels) != (second.input_channels, second.output_channels):
        raise CombinationError(
            f"{name_of(first)} takes images of {first.input_channels} channels and {name_of(second)} of "
            f"{second.input_channels}; only models of equal channels can be blended."
        )
    if can_interpolate(first, second):
        blend = _interpolated(first, second, weight)
    else:
        pair = [first, second]
        title = f"{first.architecture.name} blended with {weight:g} of {second.architecture.name}"
        blend = _descriptor(AverageNetwork(pair, weight), pair, first.scale, title)
    note_source(blend, f"{name_of(first)}, blended with {weight:g} of {name_of(second)}")
    return blend


def can_interpolate(first: ImageModelDescriptor[nn.Module], second: ImageModelDescriptor[nn.Module]) -> bool:
    """Return True if two models differ in nothing but their weights."""
    if type(first.model) is not type(second.model) or isinstance(first.model, CombinedNetwork):
        return False
    ours = isinstance(first.model, Network) and isinstance(second.model, Network)
    if ours and first.model.config != second.model.config:
        return False
    shapes, others = ({n: t.shape for n, t in m.model.state_dict().items()} for m in (first, second))
    return shapes == others


def parts_of(model: ImageModelDescriptor[nn.Module]) -> list[ImageModelDescriptor[nn.Module]]:
    """Return the models of single networks that a model is combined of; itself if it is one."""
    return [part for part, _ in scaled_parts(model)]


def scaled_parts(
    model: ImageModelDescriptor[nn.Module], scale: int = 1
) -> list[tuple[ImageModelDescriptor[nn.Module], int]]:
    """Return the models of `parts_of`, each with the scale of its input in relation to the source's."""
    if not isinstance(model.model, CombinedNetwork):
        return [(model, scale)]
    parts = []
    for part in model.model.parts():
        parts += scaled_parts(part, scale)
        if isinstance(model.model, ChainNetwork):
            scale *= part.scale
    return parts


def _interpolated(
    first: ImageModelDescriptor[nn.Module], second: ImageModelDescriptor[nn.Module], weight: float
) -> ImageModelDescriptor[nn.Module]:
    state = interpolated(first.model.state_dict(), second.model.state_dict(), weight)
    architecture = first.architecture
    with torch.inference_mode(False):
        if isinstance(first.model, Network) and isinstance(architecture, SupertileArchitecture):
            blend = build_with_config(architecture.family, first.model.config, state)
            blend.model.edge_margin = first.model.edge_margin
            return blend
        blend = copy.deepcopy(first, {id(architecture): architecture})
        blend.model.load_state_dict(state)
        return blend


class CombinedArchitecture(Architecture[nn.Module]):
    """The architecture of a combined model, as spandrel describes it. No file holds one."""

    def __init__(self, name: str) -> None:
        super().__init__(id="Supertile combined models", name=name, detect=lambda state: False)

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[nn.Module]:
        raise NotImplementedError("combined models are not loaded from files")

    def __deepcopy__(self, memo: object) -> CombinedArchitecture:
        return self


def _descriptor(
    network: CombinedNetwork, models: Sequence[ImageModelDescriptor[nn.Module]], scale: int, title: str
) -> ImageModelDescriptor[nn.Module]:
    whole = any(model.tiling == ModelTiling.INTERNAL or model.purpose == "FaceSR" for model in models)
    return ImageModelDescriptor(
        network.eval().requires_grad_(False),
        network.state_dict(),
        architecture=CombinedArchitecture(title),
        purpose="Restoration" if scale == 1 else "SR",
        tags=[tag for model in models for tag in model.tags],
        supports_half=all(model.supports_half for model in models),
        supports_bfloat16=all(model.supports_bfloat16 for model in models),
        scale=scale,
        input_channels=models[0].input_channels,
        output_channels=models[-1].output_channels,
        tiling=ModelTiling.INTERNAL if whole else ModelTiling.SUPPORTED,
    )


def _run(model: ImageModelDescriptor[nn.Module], image: Tensor) -> Tensor:
    """Run one model on images of any size, with gradients if they are enabled, and clamp as spandrel does."""
    height, width = image.shape[2:]
    wide, high = model.size_requirements.get_padding(width, height)
    if wide or high:
        image = reflect_to(image.permute(0, 2, 3, 1), height + high, width + wide).permute(0, 3, 1, 2)
    larger = model._call_fn(model.model, image)
    return larger[..., : height * model.scale, : width * model.scale].clamp(0, 1)


def _loaded(model: Model) -> ImageModelDescriptor[nn.Module]:
    return load_model(model) if isinstance(model, (str, Path)) else model
