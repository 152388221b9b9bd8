"""Load, describe and convert checkpoints: `load_model`, `inspect_checkpoint`, `convert_checkpoint`.

HAT, VapSR and HiT-SR become this package's own networks; files of other families go to spandrel.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..arch.common import default_mean
from ..arch.network import Network
from .architectures import build_descriptor, build_skeleton, family_of, shapes_of
from .bundle import EDGE_MARGIN, EXTENDED_EDGES, bundled_pair, resolve
from .errors import CheckpointError, UnreadableCheckpointError, WrongTensorsError
from .family import Family
from .files import CheckpointHeader, drop_training_buffers, read_checkpoint, read_header
from .naming import note_source
from .other_families import check_finite, load_with_spandrel
from .shapes import OWN_METADATA_KEY, KnownArguments
from .state_dicts import interpolated
from .tensor_info import PRECISIONS
from .writing import write_safetensors

BaseWindow = int | tuple[int, int]


@dataclass(frozen=True)
class CheckpointInfo:
    """A description of a checkpoint.

    Attributes:
        path: the file.
        family: "HAT", "VapSR", "HiT-SR" or spandrel's name of another architecture.
        variant: the published name of these hyper-parameters ("HAT-L", "VapSR-S", "HiT-SRF") or a description.
        scale: output pixels per input pixel, along each side.
        input_channels, output_channels: of the images.
        parameters: how many weights there are.
        hyperparameters: by name; empty for other architectures.
        dtype: "fp32", "fp16", "bf16", or torch's name of the type in which most weights are stored.
        container: "safetensors" or "PyTorch zip, params_ema", for example.
        file_bytes: size of the file.
        metadata: what the file says about itself.
        not_inferable: the hyper-parameters that neither the weights nor the file nor the caller tell, so that
            `hyperparameters` holds the family's defaults for them.
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
    path: str | Path,
    *,
    mean: tuple[float, ...] | None = None,
    base_window: BaseWindow | None = None,
    denoise: float | None = None,
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
        denoise: for a bundled network: how much noise and compression to remove, from 0, the network for clean images,
            to 1, the one for photos. In between, the weights of both are blended.

    Raises:
        CheckpointError: one of its subclasses, as one sentence that names the file and what is wrong with it.
        ValueError: `denoise` is not from 0 to 1.
    """
    if denoise is not None:
        header, state = _blended(path, denoise)
    else:
        header, state = read_checkpoint(resolve(path))
    known = KnownArguments.gather(header.metadata, header.config, mean, base_window)
    family = family_of(shapes_of(state))
    with _naming(header.path):
        _check_options(family, mean, base_window)
        if family is None:
            model = load_with_spandrel(header.path, state)
        else:
            model = build_descriptor(family, state, known)
        check_finite(header.path, model.model)
        if isinstance(model.model, Network) and header.metadata.get("title") in EXTENDED_EDGES:
            model.model.edge_margin = EDGE_MARGIN
        strength = "" if denoise is None else f", denoise {denoise:g}"
        note_source(model, Path(path).name + strength, header.metadata)
        return model


def _blended(path: str | Path, denoise: float) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """Return the checkpoint between both bundled networks of one scale."""
    if not 0 <= denoise <= 1:
        raise ValueError(f"denoise is a number from 0 to 1, not {denoise!r}")
    pair = bundled_pair(path)
    if pair is None:
        raise CheckpointError(
            Path(path),
            "a strength of denoising is for the bundled networks only; leave it out, or choose one of these as model",
        )
    (header, clean), (_, photo) = map(read_checkpoint, pair)
    return header, interpolated(clean, photo, denoise)


def inspect_checkpoint(
    path: str | Path, *, mean: tuple[float, ...] | None = None, base_window: BaseWindow | None = None
) -> CheckpointInfo:
    """Describe a checkpoint; for HAT, VapSR and HiT-SR without reading the weights, so in milliseconds.

    Raises: as `load_model`, except that damage among the weights themselves is not seen.
    """
    header = read_header(resolve(path))
    shapes = shapes_of(header.tensors)
    family = family_of(shapes)
    with _naming(header.path):
        _check_options(family, mean, base_window)
        if family is None:
            return _inspect_other(header)
        known = KnownArguments.gather(header.metadata, header.config, mean, base_window)
        shapes = drop_training_buffers(shapes)
        config = family.read_config(shapes, known)
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
        not_inferable=_defaulted(family, config, known),
    )


def network_without_weights(path: str | Path) -> nn.Module | None:
    """Return the network of a HAT, VapSR or HiT-SR on the device "meta", None for others. Raises as `load_model`."""
    header = read_header(resolve(path))
    shapes = shapes_of(header.tensors)
    family = family_of(shapes)
    if family is None:
        return None
    with _naming(header.path):
        shapes = drop_training_buffers(shapes)
        return build_skeleton(
            family, family.read_config(shapes, KnownArguments.gather(header.metadata, header.config)), shapes
        )


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

    Only the network is kept (`params_ema` where there are two), without buffers of training programs. The target
    appears only when it is complete.

    Args:
        source: a checkpoint or the name of a bundled network, as for `load_model`.
        target: a .safetensors file.
        dtype: "keep", or "fp32", "fp16", "bf16" for the floating-point weights.
        mean, base_window: as for `load_model`; they are written into the header.
        overwrite: replace a target that exists.

    Raises:
        CheckpointError: as `load_model`; also for a target that exists (unless `overwrite`) or cannot be written.
    """
    source, target = resolve(source), Path(target)
    if dtype != "keep" and dtype not in PRECISIONS:
        raise ValueError(f"the dtype is keep, {', '.join(PRECISIONS)}, not {dtype!r}")
    info = inspect_checkpoint(source, mean=mean, base_window=base_window)
    if target.suffix.lower() not in (".safetensors", ".sft"):
        raise CheckpointError(target, "the converted file must be called .safetensors")
    if target.exists():
        if os.path.samefile(source, target):
            raise CheckpointError(target, "it is the source; choose another name for the converted file")
        if not overwrite:
            raise CheckpointError(target, "it exists already; choose another name, or allow overwriting")
    header, state = read_checkpoint(source)
    family = family_of(shapes_of(state))
    if family is not None:
        state = drop_training_buffers(state)
    if dtype != "keep":
        state = {n: t.to(PRECISIONS[dtype]) if t.is_floating_point() else t for n, t in state.items()}
        _check_range(header.path, state, dtype)
    # A default written down would look like knowledge to the next reader, so only known values are.
    own: dict[str, object] = {"family": info.family, "scale": info.scale}
    if family is not None:
        known = KnownArguments.gather(header.metadata, header.config, mean, base_window)
        arguments = family.header_metadata(family.read_config(shapes_of(state), known))
        own |= {name: value for name, value in arguments.items() if name not in info.not_inferable}
    metadata = {k: v for k, v in header.metadata.items() if isinstance(v, str)}
    if isinstance(header.metadata.get("metadata"), Mapping):
        metadata["metadata"] = json.dumps(header.metadata["metadata"])
    metadata |= {"format": "pt", OWN_METADATA_KEY: json.dumps(own)}
    write_safetensors(target, state, metadata)
    return inspect_checkpoint(target)


def _hyperparameters(config: Any) -> dict[str, object]:
    """Return all hyper-parameters by name, with the mean that will be used where none was given."""
    values = asdict(config)
    if "mean" in values:
        values["mean"] = values["mean"] or default_mean(config.in_channels)
    return values


def _check_options(family: Family | None, mean: object, base_window: object) -> None:
    """Refuse options that would change nothing: they were meant for another model."""
    name, options = ("this architecture", frozenset()) if family is None else (family.NAME, family.OPTIONS)
    if mean is not None and "mean" not in options:
        raise CheckpointError(None, f"a mean was given, but {name} subtracts none; leave it out")
    if base_window is not None and "base_window" not in options:
        raise CheckpointError(None, f"a base window was given, but {name} has none; leave it out")


def _defaulted(family: Family, config: object, known: KnownArguments) -> tuple[str, ...]:
    """Return the names of the hyper-parameters that are the family's defaults, for want of anything better."""
    names = set(known.arguments)
    if known.mean:
        names.add("mean")
    if known.base_window or "base_win_size" in names:
        names.add("base_window")
    return tuple(name for name in family.not_inferable(config) if name not in names)


def _check_range(path: Path, state: Mapping[str, Tensor], dtype: str) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WrongTensorsError(path, f"the tensor {name} does not fit into {dtype}; convert it to bf16 or fp32")


def _inspect_other(header: CheckpointHeader) -> CheckpointInfo:
    header, state = read_checkpoint(header.path)
    model = load_with_spandrel(header.path, state)
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


def _dtype_name(dtype: torch.dtype) -> str:
    return next((name for name, known in PRECISIONS.items() if known == dtype), str(dtype).removeprefix("torch."))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file to errors that were raised without it."""
    try:
        yield
    except CheckpointError as error:
        if error.path is None:
            raise type(error)(path, error.problem) from error
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UnreadableCheckpointError(path, "there is not enough memory for its network") from error
