"""HAT, VapSR and HiT-SR as spandrel architectures, and their place in spandrel's registry.

`build_descriptor` turns a state dict of a recognized family into what every other program expects of a loaded model.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, SizeRequirements
from torch import Tensor, nn

from . import hat, hitsr, vapsr
from .errors import WrongTensorsError
from .shapes import Hints, ShapeMap, short
from .state_dicts import clean_names, drop_strays

FAMILIES: tuple[ModuleType, ...] = (hitsr, hat, vapsr)
"""One module for each family: NAME, MARKS, detect, read_config, build, variant, not_inferable, told."""


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of whatever has one."""
    return {name: tuple(t.shape) for name, t in tensors.items() if hasattr(t, "shape")}


def family_of(shapes: ShapeMap) -> ModuleType | None:
    return next((family for family in FAMILIES if family.detect(shapes)), None)


def nearest_family(shapes: ShapeMap) -> str | None:
    """The family most of whose marks some name bears, for an error message; None where nothing is near."""
    scores = {f.NAME: sum(any(mark in name for name in shapes) for mark in f.MARKS) / len(f.MARKS) for f in FAMILIES}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= 0.25 else None


class SupertileArchitecture(Architecture[nn.Module]):
    """One family, for spandrel."""

    def __init__(self, family: ModuleType) -> None:
        self.family = family
        super().__init__(id=family.NAME, detect=lambda state: family.detect(shapes_of(clean_names(state))))

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
        return build_descriptor(self.family, clean_names(state_dict), Hints())


ARCHITECTURES = {family.NAME: SupertileArchitecture(family) for family in FAMILIES}


def register() -> None:
    """Let spandrel, and so every program that loads models with it, open VapSR and HiT-SR. Idempotent.

    HAT stays spandrel's there: other programs expect its class. Our loader gives our own.
    """
    for name in ("VapSR", "HiT-SR"):
        if name not in MAIN_REGISTRY:
            MAIN_REGISTRY.add(ArchSupport.from_architecture(ARCHITECTURES[name]), ignore_duplicates=True)


def build_descriptor(family: ModuleType, state: Mapping[str, Tensor], hints: Hints) -> ImageModelDescriptor[nn.Module]:
    """A network of the family with the given weights: fp32, eval mode, on the CPU, without gradients.

    `state` has clean names; strays are dropped here. Raises CheckpointError before anything is half loaded.
    """
    state = drop_strays(state)
    config = family.read_config(shapes_of(state), hints)
    _check_mean(config)
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
            supports_half=family.NAME == "VapSR",
            supports_bfloat16=True,
            scale=config.scale,
            input_channels=channels,
            output_channels=getattr(config, "out_channels", channels),
            size_requirements=SizeRequirements(),
        )


def build_skeleton(family: ModuleType, config: Any, found: ShapeMap) -> nn.Module:
    """The network without memory for its weights, after a check that the tensors found are its own."""
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
