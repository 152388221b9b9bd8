"""Load networks of other families through spandrel, and spandrel_extra_arches where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelDescriptor, ModelLoader, UnsupportedModelError
from torch import Tensor, nn

from .architectures import FAMILIES, nearest_family, shapes_of
from .errors import CheckpointError, UnknownArchitectureError, WrongTensorsError
from .state_dicts import generators, without_shared_prefixes


def load_with_spandrel(path: Path, state: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
    """Load a state dict of any architecture that spandrel knows: fp32, eval mode, on the CPU, without gradients.

    Raises:
        UnknownArchitectureError: spandrel does not know it, or it does not turn one image into another.
        WrongTensorsError: its tensors do not fit the architecture.
    """
    _install_extra_architectures()
    try:
        loaded = _load(state)
    except UnsupportedModelError as error:
        nearest = nearest_family(shapes_of(state))
        *names, last = (family.NAME for family in FAMILIES)
        hint = (
            f"the nearest supported family is {nearest}"
            if nearest
            else f"it does not resemble {', '.join(names)} or {last}"
        )
        raise UnknownArchitectureError(
            path, f"neither Supertile nor spandrel knows its architecture; {hint}"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # spandrel's architectures raise whatever their code meets
        reason = str(error).strip().partition("\n")[0][:160]
        raise WrongTensorsError(path, f"spandrel recognizes it but cannot build it ({reason})") from error
    if not isinstance(loaded, ImageModelDescriptor):
        raise UnknownArchitectureError(
            path, f"it is a {loaded.architecture.name} network, which does not turn one image into another"
        )
    loaded.model.eval().requires_grad_(False)
    return loaded.float().cpu()


def _load(state: Mapping[str, Tensor]) -> ModelDescriptor[nn.Module]:
    """Try the names as they are, without each prefix that all of them share, and the generator of a mixture.

    Which prefixes are a trainer's and which the architecture's own (`model.` in old ESRGAN) only spandrel can tell.
    """
    unsupported: UnsupportedModelError | None = None
    for names in ({name: name for name in state}, *without_shared_prefixes(state), *generators(state)):
        try:
            return ModelLoader().load_from_state_dict({name: state[stored] for name, stored in names.items()})
        except UnsupportedModelError as error:
            unsupported = unsupported or error
    assert unsupported is not None
    raise unsupported


def recognize(state: Mapping[str, Tensor]) -> str | None:
    """Return spandrel's name of the architecture of a state dict, of tensors on any device; None if it knows none."""
    _install_extra_architectures()
    for names in ({name: name for name in state}, *without_shared_prefixes(state), *generators(state)):
        renamed = {name: state[stored] for name, stored in names.items()}
        for support in MAIN_REGISTRY.architectures("detection"):
            if support.detect(renamed):
                return support.architecture.name
    return None


def _install_extra_architectures() -> None:
    try:
        import spandrel_extra_arches
    except ImportError:
        return
    spandrel_extra_arches.install(ignore_duplicates=True)


def check_finite(path: Path, model: nn.Module) -> None:
    """Raise WrongTensorsError, naming the tensor, if a weight is NaN or infinite: every output would be NaN."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and weight.numel() and not all(map(torch.isfinite, weight.aminmax())):
            raise WrongTensorsError(
                path,
                f"the tensor {name} holds NaN or infinite values, so every output would be NaN; get another copy",
            )
