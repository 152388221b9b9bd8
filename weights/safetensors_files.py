"""The header of a safetensors file, and its tensors, through the `safetensors` library.

The library maps the file and checks that the tensors cover its data exactly: no gaps, no overlaps, nothing after the
last. Two checks are left to us: on the length of the header, because the library parses up to 100 MB of JSON, and on
shapes, because it accepts any number of sides, and sides of any size beside one that is 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open

from .errors import UnreadableCheckpointError
from .tensor_info import TensorInfo, human_size, shape_problem

# The largest real headers (thousands of tensors and an embedded preview image) take about 1 MB. Parsed JSON needs up
# to twenty times the memory of its text, so this bound is also one on memory.
_MAX_HEADER_BYTES = 16 * 2**20
_MAX_TENSORS = 20_000  # the largest upscaling networks have about 5,000

_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    # known in order to be named; `files.py` refuses the ones no network here has
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsHeader:
    """The tensors of a file and its `__metadata__`."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Read and check a header. Takes memory for the header only, whatever it declares.

    Raises:
        UnreadableCheckpointError: truncated, damaged, or declaring what the file cannot hold.
    """
    _check_header_size(path)
    tensors = {}
    with _opened(path) as file:
        names = file.keys()
        if len(names) > _MAX_TENSORS:
            raise UnreadableCheckpointError(
                path,
                f"it lists {len(names)} tensors, and no upscaling network has more than {_MAX_TENSORS}; do not use it",
            )
        for name in names:
            entry = file.get_slice(name)
            shape, dtype = tuple(entry.get_shape()), entry.get_dtype()
            if dtype not in _DTYPES:
                _refuse(path, f"the tensor {name[:80]!r} is stored as {dtype[:16]!r}, which no network here uses")
            if problem := shape_problem(shape):
                _refuse(path, f"the tensor {name[:80]!r} {problem}")
            tensors[name] = TensorInfo(shape, _DTYPES[dtype])
        return SafetensorsHeader(tensors, file.metadata() or {})


def read_safetensors_tensors(path: Path, header: SafetensorsHeader, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read the named tensors into memory of their own, in their stored dtypes.

    Raises:
        UnreadableCheckpointError: the file no longer holds what its header said.
    """
    with _opened(path) as file:
        # Copies: the library's tensors are views of the file, and would change or crash when somebody replaces it.
        tensors = {name: file.get_tensor(name).clone() for name in names}
    for name, tensor in tensors.items():
        info = header.tensors[name]
        if tuple(tensor.shape) != info.shape or tensor.dtype != info.dtype:
            raise UnreadableCheckpointError(path, "the file changed while it was read; try again")
    return tensors


def _check_header_size(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
    except OSError as error:
        _refuse(path, f"reading failed ({error.strerror or error})", error)
    if header_size > _MAX_HEADER_BYTES:
        _refuse(path, f"its safetensors header claims {human_size(header_size)}, more than any real one")
    if 8 + header_size > size:
        _refuse(path, f"it is truncated: the header takes {header_size} bytes, the file has {size}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file with the library, whose errors become sentences."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        if "ncomplete" in reason:  # "MetadataIncompleteBuffer" in older versions of the library
            _refuse(path, "it is truncated, or other bytes follow the last tensor", error)
        if re.match("invalid ?offset", reason, re.IGNORECASE):
            _refuse(path, "its safetensors header lets tensors overlap or leaves gaps between them", error)
        _refuse(path, f"its safetensors header is damaged ({reason[:80]})", error)
    except OSError as error:
        _refuse(path, f"reading failed ({error.strerror or error})", error)
    except (RuntimeError, MemoryError) as error:  # of torch, which makes the tensors
        raise UnreadableCheckpointError(
            path, f"there is not enough memory for its tensors ({str(error)[:80]})"
        ) from error


def _refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    raise UnreadableCheckpointError(path, f"{problem}; download it again") from cause
