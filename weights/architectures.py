"""The list of our families, and building a loaded network of one as spandrel describes networks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, ArchId, Architecture, ArchSupport, ImageModelDescriptor, SizeRequirements
from torch import Tensor, nn

from . import hat, hitsr, vapsr
from .errors import CheckpointError, WrongTensorsError
from .family import Family
from .shapes import KnownArguments, ShapeMap, short
from .state_dicts import clean_names, drop_training_buffers

FAMILIES: tuple[Family, ...] = (hat, vapsr, hitsr)
"""The families that run through this package's own networks; `family.py` describes how to add one."""

KEEP_THEIRS = "SUPERTILE_SPANDREL_HAT"
"""Environment variable: 0 leaves HAT to spandrel's own class wherever models are loaded through spandrel."""


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of all values that have one."""
    return {name: tuple(t.shape) for name, t in tensors.items() if hasattr(t, "shape")}


def family_of(shapes: ShapeMap) -> Family | None:
    """Return the family that these tensors belong to, None for another architecture."""
    return next((family for family in FAMILIES if family.detect(shapes)), None)


def nearest_family(shapes: ShapeMap) -> str | None:
    """Return the name of the family whose signature fits best, for an error message; None if hardly any of it fits."""

    def score(family: Family) -> float:
        return sum(any(part in name for name in shapes) for part in family.SIGNATURE) / len(family.SIGNATURE)

    best = max(FAMILIES, key=score)
    return best.NAME if score(best) >= 0.25 else None


class SupertileArchitecture(Architecture[nn.Module]):
    """A family of ours as one of spandrel's architectures."""

    def __init__(self, family: Family) -> None:
        self.family = family
        super().__init__(id=family.NAME, detect=lambda state: family.detect(shapes_of(clean_names(state))))

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
        return build_descriptor(self.family, clean_names(state_dict), KnownArguments())


class InPlaceOfTheirs(Architecture[nn.Module]):
    """A family of ours that spandrel knows too, for those files that our network can load.

    Its id differs from that of spandrel's architecture, as the registry demands; the models it loads have the same.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        super().__init__(id=f"Supertile/{family.NAME}", name=family.NAME, detect=self._detect)

    def _detect(self, state_dict: Mapping[str, Any]) -> bool:
        shapes = shapes_of(drop_training_buffers(clean_names(state_dict)))
        if not self.family.detect(shapes):
            return False
        try:
            build_skeleton(self.family, self.family.read_config(shapes, KnownArguments()), shapes)
        except CheckpointError:
            return False
        return True

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
        return ARCHITECTURES[self.family.NAME].load(state_dict)


ARCHITECTURES = {family.NAME: SupertileArchitecture(family) for family in FAMILIES}


def register() -> None:
    """Add the families to spandrel's registry. Idempotent.

    Every program that loads models with spandrel then opens VapSR and HiT-SR, and gets our network for HAT files.
    spandrel's own HAT keeps its place in the registry and takes the files that ours does not: all of them if the
    environment variable SUPERTILE_SPANDREL_HAT is 0.
    """
    for family in FAMILIES:
        if not family.IN_SPANDREL:
            MAIN_REGISTRY.add(ArchSupport.from_architecture(ARCHITECTURES[family.NAME]), ignore_duplicates=True)
        elif os.environ.get(KEEP_THEIRS) != "0":
            MAIN_REGISTRY.add(
                ArchSupport.from_architecture(InPlaceOfTheirs(family), before=(ArchId(family.NAME),)),
                ignore_duplicates=True,
            )


def build_descriptor(
    family: Family, state: Mapping[str, Tensor], known: KnownArguments
) -> ImageModelDescriptor[nn.Module]:
    """Build a network of the family with the given weights: fp32, eval mode, on the CPU, without gradients.

    `state` has clean names; buffers of training programs are dropped here. Raises CheckpointError
    before anything is half loaded.
    """
    state = drop_training_buffers(state)
    config = family.read_config(shapes_of(state), known)
    _check_mean(config)
    return build_with_config(family, config, state)


def build_with_config(family: Family, config: Any, state: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
    """Build a network of the family with known hyper-parameters, as `build_descriptor` does."""
    model = build_skeleton(family, config, shapes_of(state))
    with torch.inference_mode(False):  # parameters made in inference mode could never be used outside of it
        model = model.to_empty(device="cpu").eval().requires_grad_(False)
        # The layout that convolutions over (B, H, W, C) features want; nothing else about the weights changes.
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        channels = config.in_channels
        return ImageModelDescriptor(
            model,
            dict(state),
            architecture=ARCHITECTURES[family.NAME],
            purpose="Restoration" if config.scale == 1 else "SR",
            tags=[family.variant(config)],
            supports_half=family.SUPPORTS_HALF,
            supports_bfloat16=True,
            scale=config.scale,
            input_channels=channels,
            output_channels=getattr(config, "out_channels", channels),
            size_requirements=SizeRequirements(),
        )


def build_skeleton(family: Family, config: Any, found: ShapeMap) -> nn.Module:
    """Build the network on the device "meta", after a check that the tensors found are its own."""
    try:
        with torch.device("meta"):
            model: nn.Module = family.build(config)
    except ValueError as error:
        raise WrongTensorsError(None, f"its tensors do not fit each other ({error})") from error
    check_tensors(family.NAME, {n: tuple(t.shape) for n, t in model.state_dict().items()}, found)
    return model


def check_tensors(name: str, expected: ShapeMap, found: ShapeMap) -> None:
    """Raises WrongTensorsError, naming what is missing, unexpected or of a wrong shape."""
    missing = [n for n in expected if n not in found]
    unexpected = [n for n in found if n not in expected]
    wrong = [n for n, s in expected.items() if n in found and found[n] != s]
    if missing:
        raise WrongTensorsError(
            None, f"it is a {name} network, but tensors are missing ({short(missing)}); download it again"
        )
    if wrong:
        n = min(wrong)
        raise WrongTensorsError(
            None,
            f"it is a {name} network, but tensors have a wrong shape "
            f"({n} is {list(found[n])} where {list(expected[n])} fits the others)",
        )
    if unexpected:
        raise WrongTensorsError(
            None,
            f"it resembles {name}, but has tensors that no {name} network has ({short(unexpected)}), "
            "so it computes something else",
        )


def _check_mean(config: Any) -> None:
    mean = getattr(config, "mean", None)
    if mean is not None and len(mean) not in (1, config.in_channels):
        raise WrongTensorsError(None, f"a mean of {len(mean)} values does not fit {config.in_channels} channels")


register()
