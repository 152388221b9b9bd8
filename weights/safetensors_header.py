"""The header of a safetensors file, checked to the last byte before anything is believed, and its tensors.

A file is eight bytes (little-endian length of the header), the header (JSON: name -> dtype, shape, data_offsets) and
the tensors' bytes without gaps. The `safetensors` library is not used: it maps the file, so that its tensors live as
long as the file stays as it is, and its errors name no cause a user knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

from .errors import UnreadableCheckpointError
from .tensor_info import TensorInfo, human_size, shape_problem

# The largest real headers (thousands of tensors and an embedded preview image) take about 1 MB. Parsed JSON needs up
# to twenty times the memory of its text, so this bound is also one on memory.
_MAX_HEADER = 16 * 2**20

_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    # known in order to check their sizes; `files.py` refuses the ones no network here has
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsHeader:
    """Tensors in the order of the file, with the absolute position of each one's bytes, and `__metadata__`."""

    tensors: dict[str, TensorInfo]
    positions: dict[str, int]
    metadata: dict[str, str]


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Read and check a header. Takes memory for the header only, whatever it declares.

    Raises:
        UnreadableCheckpointError: truncated, damaged, or declaring what the file cannot hold.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if header_size > _MAX_HEADER:
                _refuse(path, f"its safetensors header claims {human_size(header_size)}, more than any real one")
            if 8 + header_size > size:
                _refuse(path, f"it is truncated: the header takes {header_size} bytes, the file has {size}")
            text = file.read(header_size)
    except OSError as error:
        _refuse(path, f"reading failed ({error.strerror or error})", error)

    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, repeated names
        _refuse(path, f"its safetensors header is damaged ({error})", error)
    if not isinstance(entries, dict):
        _refuse(path, "its safetensors header is damaged (it is not a JSON object)")

    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        _refuse(path, "its safetensors header is damaged (__metadata__ is not an object)")
    data_size = size - 8 - header_size
    spans = {name: _span(path, name, entry) for name, entry in entries.items()}
    _check_cover(path, [span[1:] for span in spans.values()], data_size)
    return SafetensorsHeader(
        tensors={name: span[0] for name, span in spans.items()},
        positions={name: 8 + header_size + span[1] for name, span in spans.items()},
        metadata={key: value for key, value in metadata.items() if isinstance(value, str)},
    )


def read_safetensors_tensors(path: Path, header: SafetensorsHeader, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read the named tensors into memory of their own, in their stored dtypes.

    Raises:
        UnreadableCheckpointError: the file no longer holds what its header said.
    """
    tensors = {}
    try:
        with path.open("rb") as file:
            for name in names:
                info = header.tensors[name]
                data = torch.empty(info.nbytes, dtype=torch.uint8)
                file.seek(header.positions[name])
                if file.readinto(data.numpy().data) != info.nbytes:
                    _refuse(path, f"it is truncated within the tensor {name!r}")
                tensors[name] = data.view(info.dtype).reshape(info.shape)
    except OSError as error:
        _refuse(path, f"reading failed ({error.strerror or error})", error)
    return tensors


def _span(path: Path, name: str, entry: object) -> tuple[TensorInfo, int, int]:
    """Check one entry by itself; returns the tensor and the begin and end of its bytes within the data."""
    match entry:
        case {"dtype": str(dtype_name), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            _refuse(path, f"its safetensors header is damaged at the tensor {name[:80]!r}")
    if dtype_name not in _DTYPES:
        _refuse(path, f"the tensor {name[:80]!r} is stored as {dtype_name[:16]!r}, which no network here uses", None)
    if problem := shape_problem(shape):
        _refuse(path, f"the tensor {name[:80]!r} {problem}")
    info = TensorInfo(tuple(shape), _DTYPES[dtype_name])
    if not 0 <= begin <= end or info.nbytes != end - begin:
        _refuse(path, f"the tensor {name[:80]!r} of {human_size(info.nbytes)} lies at the bytes {begin} to {end}")
    return info, begin, end


def _check_cover(path: Path, spans: list[tuple[int, int]], data_size: int) -> None:
    """The tensors must cover the data exactly, as the format demands: nothing missing, shared or hidden between."""
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            _refuse(path, "its safetensors header lets tensors overlap or leaves gaps between them")
        reached = end
    if reached > data_size:
        _refuse(path, f"it is truncated: {human_size(data_size)} of {human_size(reached)} of tensors are there")
    if reached < data_size:
        _refuse(path, f"{human_size(data_size - reached)} follow the last tensor, so the file is damaged")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    raise UnreadableCheckpointError(path, f"{problem}; download it again") from cause
