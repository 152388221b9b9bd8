"""A file -> a network ready to use, what a file holds, and a file in our own form.

Three calls: `load_model`, `inspect_checkpoint`, `convert_checkpoint`. Files of other families than ours go to spandrel.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
from torch import Tensor, nn

from ..arch.common import default_mean
from .architectures import build_descriptor, build_skeleton, family_of, nearest_family, shapes_of
from .bundle import resolve
from .errors import CheckpointError, UnknownArchitectureError, UnreadableCheckpointError, WrongTensorsError
from .files import CheckpointHeader, drop_strays, read_checkpoint, read_header
from .shapes import OWN_METADATA_KEY, Hints
from .writing import write_safetensors

BaseWindow = int | tuple[int, int]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint is.

    `family` is "HAT", "VapSR", "HiT-SR" or spandrel's name of another architecture; `variant` the published name of
    these hyper-parameters ("HAT-L", "VapSR-S", "HiT-SRF") or a description. `parameters` counts numbers, `dtype` names
    the stored form of most of them. `not_inferable` names the hyper-parameters that weights cannot tell and nothing
    told, so that the family's defaults stand in `hyperparameters`.
    """

    path: Path
    family: str
    variant: str
    scale: int
    input_channels: int
    output_channels: int
    parameters: int
    hyperparameters: dict[str, object]
    dtype: str
    container: str
    file_bytes: int
    metadata: dict[str, object]
    not_inferable: tuple[str, ...]


def load_model(
    path: str | Path, *, mean: tuple[float, ...] | None = None, base_window: BaseWindow | None = None
) -> ImageModelDescriptor[nn.Module]:
    """Load an upscaling network of any known architecture: fp32, eval mode, on the CPU.

    HAT, VapSR and HiT-SR run through this package's own networks, everything else through spandrel (with
    spandrel_extra_arches where it is installed).

    Args:
        path: a .safetensors, .pth, .pt, .ckpt or .bin file, or the name of a bundled network ("supertile-2x"; a file
            of that name counts more). Pickles are read without running any code.
        mean: what HAT and HiT-SR subtract from their input, one value or one for each channel. Needed for networks
            trained by neosr, which uses 0.5 where the authors use the mean of DIV2K; weights cannot tell.
        base_window: the base window of HiT-SIR and HiT-SRF in pixels, where it is not the published 8.

    Raises:
        CheckpointError: one of its subclasses, as one sentence that names the file and what is wrong with it.
    """
    header, state = read_checkpoint(resolve(path))
    hints = Hints.of(header.metadata, header.config, mean, base_window)
    family = family_of(shapes_of(state))
    with _naming(header.path):
        _check_options(family, mean, base_window)
        if family is None:
            return _load_with_spandrel(header, state)
        return build_descriptor(family, state, hints)


def inspect_checkpoint(
    path: str | Path, *, mean: tuple[float, ...] | None = None, base_window: BaseWindow | None = None
) -> CheckpointInfo:
    """Say what a checkpoint is, for our families without reading the weights (a safetensors file in milliseconds).

    Raises: as `load_model`, except that damage among the weights themselves is not seen.
    """
    header = read_header(resolve(path))
    shapes = shapes_of(header.tensors)
    family = family_of(shapes)
    with _naming(header.path):
        _check_options(family, mean, base_window)
        if family is None:
            return _inspect_with_spandrel(header)
        hints = Hints.of(header.metadata, header.config, mean, base_window)
        shapes = drop_strays(shapes)
        config = family.read_config(shapes, hints)
        model = build_skeleton(family, config, shapes)
    return CheckpointInfo(
        path=header.path,
        family=family.NAME,
        variant=family.variant(config),
        scale=config.scale,
        input_channels=config.in_channels,
        output_channels=getattr(config, "out_channels", config.in_channels),
        parameters=sum(p.numel() for p in model.parameters()),
        hyperparameters=_hyperparameters(config),
        dtype=_dtype_name(header.dtype),
        container=header.container,
        file_bytes=header.path.stat().st_size,
        metadata=dict(header.metadata),
        not_inferable=_untold(family, config, hints),
    )


def network_without_weights(path: str | Path) -> nn.Module | None:
    """The network of a checkpoint of one of our families, on no device; None for others. Raises: as `load_model`."""
    header = read_header(resolve(path))
    shapes = shapes_of(header.tensors)
    family = family_of(shapes)
    if family is None:
        return None
    with _naming(header.path):
        shapes = drop_strays(shapes)
        return build_skeleton(family, family.read_config(shapes, Hints.of(header.metadata, header.config)), shapes)


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str = "keep",
    mean: tuple[float, ...] | None = None,
    base_window: BaseWindow | None = None,
    overwrite: bool = False,
) -> CheckpointInfo:
    """Write a checkpoint as safetensors in the official key layout, with what shapes cannot tell in its header.

    Only the network is kept (`params_ema` where there are two), without strays. `dtype` is "keep", "fp32", "fp16" or
    "bf16". The target appears only when it is complete.

    Raises:
        CheckpointError: as `load_model`; also for a target that exists (unless `overwrite`) or cannot be written.
    """
    source, target = resolve(source), Path(target)
    if dtype != "keep" and dtype not in DTYPES:
        raise ValueError(f"the dtype is keep, {', '.join(DTYPES)}, not {dtype!r}")
    info = inspect_checkpoint(source, mean=mean, base_window=base_window)
    if target.suffix.lower() not in (".safetensors", ".sft"):
        raise CheckpointError(target, "the converted file must be called .safetensors")
    if target.exists():
        if os.path.samefile(source, target):
            raise CheckpointError(target, "it is the source; choose another name for the converted file")
        if not overwrite:
            raise CheckpointError(target, "it exists already, and overwriting was not asked for")
    header, state = read_checkpoint(source)
    family = family_of(shapes_of(state))
    if family is not None:
        state = drop_strays(state)
    if dtype != "keep":
        state = {n: t.to(DTYPES[dtype]) if t.is_floating_point() else t for n, t in state.items()}
        _check_range(header.path, state, dtype)
    # A guess written down would look like knowledge to the next reader, so only what something told is.
    told = {}
    if family is not None:
        config = family.read_config(shapes_of(state), Hints.of(header.metadata, header.config, mean, base_window))
        told = {name: value for name, value in family.told(config).items() if name not in info.not_inferable}
    metadata = {k: v for k, v in header.metadata.items() if isinstance(v, str)}
    if isinstance(header.metadata.get("metadata"), Mapping):
        metadata["metadata"] = json.dumps(header.metadata["metadata"])
    metadata |= {"format": "pt", OWN_METADATA_KEY: json.dumps({"family": info.family, "scale": info.scale, **told})}
    write_safetensors(target, state, metadata)
    return inspect_checkpoint(target)


def _hyperparameters(config: Any) -> dict[str, object]:
    """All of them by name, with the mean that will be used where none was given."""
    values = asdict(config)
    if "mean" in values:
        values["mean"] = values["mean"] or default_mean(config.in_channels)
    return values


def _check_options(family: ModuleType | None, mean: object, base_window: object) -> None:
    """An option that changes nothing was meant for another model."""
    name = "this architecture" if family is None else family.NAME
    if mean is not None and name not in ("HAT", "HiT-SR"):
        raise CheckpointError(None, f"a mean was given, but {name} subtracts none; leave it out")
    if base_window is not None and name != "HiT-SR":
        raise CheckpointError(None, f"a base window was given, but {name} has none; leave it out")


def _untold(family: ModuleType, config: object, hints: Hints) -> tuple[str, ...]:
    """What stands in the hyper-parameters only because it is the family's default."""
    told = set(hints.arguments)
    told |= {"mean"} if hints.mean else set()
    told |= {"base_window"} if hints.base_window or "base_win_size" in told else set()
    return tuple(name for name in family.not_inferable(config) if name not in told)


def _check_range(path: Path, state: Mapping[str, Tensor], dtype: str) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WrongTensorsError(path, f"the tensor {name} does not fit into {dtype}; convert it to bf16 or fp32")


# --- other architectures -----------------------------------------------------------------------------------------


def _load_with_spandrel(header: CheckpointHeader, state: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
    _install_extra_architectures()
    try:
        loaded = ModelLoader().load_from_state_dict(dict(state))
    except UnsupportedModelError as error:
        near = nearest_family(shapes_of(state))
        hint = f"the nearest supported family is {near}" if near else "it does not resemble HAT, VapSR or HiT-SR"
        raise UnknownArchitectureError(
            header.path, f"neither Supertile nor spandrel knows its architecture; {hint}"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # spandrel's architectures raise whatever their code meets
        reason = str(error).strip().partition("\n")[0][:160]
        raise WrongTensorsError(header.path, f"spandrel recognizes it but cannot build it ({reason})") from error
    if not isinstance(loaded, ImageModelDescriptor):
        raise UnknownArchitectureError(
            header.path, f"it is a {loaded.architecture.name} network, which does not turn one image into another"
        )
    loaded.model.eval().requires_grad_(False)
    return loaded.float().cpu()


def _inspect_with_spandrel(header: CheckpointHeader) -> CheckpointInfo:
    header, state = read_checkpoint(header.path)
    model = _load_with_spandrel(header, state)
    return CheckpointInfo(
        path=header.path,
        family=model.architecture.name,
        variant=" ".join([model.architecture.name, *model.tags]),
        scale=model.scale,
        input_channels=model.input_channels,
        output_channels=model.output_channels,
        parameters=sum(p.numel() for p in model.model.parameters()),
        hyperparameters={},
        dtype=_dtype_name(header.dtype),
        container=header.container,
        file_bytes=header.path.stat().st_size,
        metadata=dict(header.metadata),
        not_inferable=(),
    )


def _install_extra_architectures() -> None:
    try:
        import spandrel_extra_arches
    except ImportError:
        return
    spandrel_extra_arches.install(ignore_duplicates=True)


def _dtype_name(dtype: torch.dtype) -> str:
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype).removeprefix("torch."))


class _naming:
    """Errors raised within know their file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CheckpointError) and error.path is None:
            raise type(error)(self.path, error.problem) from error
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            raise UnreadableCheckpointError(self.path, "there is not enough memory for its network") from error
