"""Read a checkpoint of any container: one network's tensors under their own names, or a sentence why not.

Recognizes the container, checks everything that a file declares before it takes memory, runs no code, and picks the
network out of what was saved with it. `loader.py` finds out which architecture it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import CheckpointError, NotAModelError, UnreadableCheckpointError
from .file_kinds import FileKind, file_kind
from .pickles import StoredTensor
from .safetensors_files import SafetensorsHeader, read_safetensors_header, read_safetensors_tensors
from .state_dicts import clean_names, drop_training_buffers, select_state
from .tensor_info import USABLE_DTYPES, TensorInfo, human_size
from .torch_files import TorchFile, describe_legacy, describe_zip, read_tensors

__all__ = [
    "CheckpointHeader",
    "TensorInfo",
    "clean_names",
    "drop_training_buffers",
    "read_checkpoint",
    "read_header",
    "select_state",
]

_CHECKPOINT_SUFFIXES = frozenset({".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin", ".pkl"})
_HUB_NAMES = frozenset({"model.safetensors", "pytorch_model.bin"})
_MAX_CONFIG = 1_000_000  # bytes
_MAX_COPIES = 4  # tensors may be views of one another, but not so that copies of them take many times the file

_LORA_NAMES = ("lora_up.", "lora_down.", ".lora_A.", ".lora_B.", "lora_unet_", "lora_te_", "hada_w", "lokr_w")
_OPTIMIZER_LEAVES = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"})


@dataclass(frozen=True)
class CheckpointHeader:
    """A checkpoint without its weights.

    Attributes:
        path: the file.
        container: how it was stored, in words: "safetensors", "PyTorch zip, params_ema".
        tensors: the network's tensors by the names they have in its own state dict.
        metadata: `__metadata__` of a safetensors file, or what lies under "metadata" in a .pth of traiNNer-redux. In
            both, the constructor arguments that redux saves are a dict under the key "metadata".
        config: the object in the Hugging Face `config.json` that belongs to the file, else empty.
        dtype: the floating-point dtype that holds most of the elements.
    """

    path: Path
    container: str
    tensors: dict[str, TensorInfo]
    metadata: dict[str, object]
    config: dict[str, object]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Description:
    """A header, and where its tensors lie in the file."""

    header: CheckpointHeader
    stored_names: dict[str, str]  # clean name -> name in the file
    source: SafetensorsHeader | TorchFile


def read_header(path: str | Path) -> CheckpointHeader:
    """Describe a checkpoint without reading its weights; milliseconds for any safetensors file.

    The container is recognized by the content, never by the extension. Nothing in a file is ever executed.

    Raises:
        UnreadableCheckpointError: missing, empty, truncated, damaged, no checkpoint, or declaring absurd sizes.
        UnsafeCheckpointError: a pickle that would run code, or a TorchScript archive.
        NotAModelError: training state, a LoRA, or nothing of a network.
    """
    return _describe(Path(path)).header


def read_checkpoint(path: str | Path) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Read a checkpoint's network: its header, and its tensors under clean names.

    The tensors keep their stored dtypes (float16 stays float16), lie on the CPU in memory of their own, and are
    contiguous; tensors that are tied in the file are one tensor. Other networks of the file (`params` beside
    `params_ema`, a discriminator) are not kept, and where the format allows it not even read.

    Raises: as `read_header`.
    """
    described = _describe(Path(path))
    header, names, source = described.header, described.stored_names, described.source
    if isinstance(source, SafetensorsHeader):
        by_name = read_safetensors_tensors(header.path, source, names.values())
        return header, {name: by_name[stored_name] for name, stored_name in names.items()}
    stored = {name: info for name, info in header.tensors.items() if isinstance(info, StoredTensor)}
    by_view = read_tensors(source, stored.values())
    return header, {name: by_view[tensor] for name, tensor in stored.items()}


def _describe(path: Path) -> _Description:
    kind = file_kind(path)
    try:
        return _describe_kind(path, kind)
    except CheckpointError as error:
        if error.path is None:  # raised by a pure function, which knows no file
            raise type(error)(path, error.problem) from error
        raise


def _describe_kind(path: Path, kind: FileKind) -> _Description:
    source: SafetensorsHeader | TorchFile
    container = str(kind)
    if kind == "safetensors":
        source = read_safetensors_header(path)
        state: Mapping[str, TensorInfo] = source.tensors
        metadata = _metadata(source.metadata)
    else:
        source = describe_zip(path) if kind == "PyTorch zip" else describe_legacy(path)
        where, state = select_state(source.saved)
        container = f"{kind}, {where}" if where else container
        metadata = _pickled_metadata(source.saved)

    stored_names = clean_names({name: name for name in state})
    tensors = {name: state[stored] for name, stored in stored_names.items()}
    header = CheckpointHeader(
        path, container, tensors, metadata, config=_hub_config(path), dtype=_check_network(path, tensors)
    )
    return _Description(header, stored_names, source)


def _check_network(path: Path, tensors: dict[str, TensorInfo]) -> torch.dtype:
    """Refuse files without a network; return the dtype of most floating-point elements."""
    if not tensors:
        raise NotAModelError(path, "there are no tensors in it; choose another file")
    if sum(any(part in name for part in _LORA_NAMES) for name in tensors) * 2 > len(tensors):
        raise NotAModelError(path, "it is a LoRA, an addition to a diffusion model; choose an upscaling network")
    if sum(name.rpartition(".")[2] in _OPTIMIZER_LEAVES for name in tensors) * 2 >= len(tensors):
        raise NotAModelError(path, "it holds an optimizer's state, not a network; choose the network's file beside it")
    for name, info in tensors.items():
        if info.dtype not in USABLE_DTYPES:
            dtype = str(info.dtype).removeprefix("torch.")
            raise UnreadableCheckpointError(
                path, f"the tensor {name[:80]!r} is stored as {dtype}; get the model with float32 or float16 weights"
            )
    distinct = {id(info): info for info in tensors.values()}
    total, size = sum(info.nbytes for info in distinct.values()), path.stat().st_size
    if total > _MAX_COPIES * size:
        raise UnreadableCheckpointError(
            path, f"its tensors would take {human_size(total)} from a file of {human_size(size)}; do not use it"
        )
    elements: Counter[torch.dtype] = Counter()
    for info in tensors.values():
        if info.dtype.is_floating_point:
            elements[info.dtype] += info.numel
    if not elements.total():
        raise NotAModelError(path, "there are no floating-point weights in it; choose another file")
    return elements.most_common(1)[0][0]


def _metadata(raw: Mapping[str, object]) -> dict[str, object]:
    """Decode the constructor arguments that traiNNer-redux stores as JSON under the key "metadata"."""
    metadata = dict(raw)
    text = metadata.get("metadata")
    if isinstance(text, str):
        try:
            arguments = json.loads(text)
        except (ValueError, RecursionError):
            return metadata  # somebody else's use of the same key
        if isinstance(arguments, dict):
            metadata["metadata"] = arguments
    return metadata


def _pickled_metadata(saved: object) -> dict[str, object]:
    """Return the metadata of `{"metadata": {...}, "params": {...}}`: the arguments themselves, or JSON."""
    raw = saved.get("metadata") if isinstance(saved, Mapping) else None
    if not isinstance(raw, Mapping):
        return {}
    plain = {key: value for key, value in raw.items() if isinstance(key, str) and _is_plain(value)}
    return _metadata(plain) if "metadata" in plain else {"metadata": plain}


def _is_plain(value: object) -> bool:
    scalar = (str, int, float, type(None))
    return isinstance(value, scalar) or (isinstance(value, (list, tuple)) and all(isinstance(v, scalar) for v in value))


def _hub_config(path: Path) -> dict[str, object]:
    """Return the `config.json` beside a file if it belongs to that file, else an empty dict.

    It does if the file has the name it has on the Hugging Face Hub, or is the only checkpoint in the folder; in a
    folder of many models it could belong to any of them.
    """
    config = path.parent / "config.json"
    try:
        if not config.is_file() or config.stat().st_size >= _MAX_CONFIG:
            return {}
        if path.name not in _HUB_NAMES:
            neighbors = (entry for entry in path.parent.iterdir() if entry.suffix.lower() in _CHECKPOINT_SUFFIXES)
            if any(entry.name != path.name for entry in neighbors):
                return {}
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # a config that cannot be read is no reason to refuse the weights
    return content if isinstance(content, dict) else {}
