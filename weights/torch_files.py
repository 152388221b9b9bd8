"""The two containers of torch.save: a zip of one pickle and its storages, and (before PyTorch 1.6) pickles in a row.

`describe_*` tell what a file holds and check that it really does, without reading a tensor; `read_tensors` reads those
that are wanted, each into memory of its own. Which tensors are the network is decided in `state_dicts.py`.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import torch

from .errors import UnreadableCheckpointError, UnsafeCheckpointError
from .pickles import PickleReader, Storage, StoredTensor
from .tensor_info import human_size

# torch.save stores without compression, so what the members take together is what the file takes. Somebody may have
# packed the zip anew; weights shrink little by that, so a file that unfolds to more is a bomb.
_MAX_EXPANSION = 4
_MAX_PICKLE = 2**26
_BLOCK = 2**20

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


@dataclass(frozen=True)
class TorchFile:
    """The contents of a file of torch.save.

    Attributes:
        saved: the saved object, with `StoredTensor` for tensors.
        members: of a zip: storage key -> name of its member.
        positions: of a legacy file: storage key -> position of its first byte.
        swapped: whether the bytes of numbers lie in the other order than on this machine.
    """

    path: Path
    saved: object
    members: dict[str, str]
    positions: dict[str, int]
    swapped: bool = False


def describe_zip(path: Path) -> TorchFile:
    """Describe a zip of torch.save.

    Raises:
        UnsafeCheckpointError: TorchScript, or a pickle that would run code.
        UnreadableCheckpointError: truncated, damaged, another program's zip, or unfolding to more than it holds.
    """
    with _reading(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        pickle_name = _check_members(path, members, path.stat().st_size)
        sizes = {member.filename: member.file_size for member in members}
        if sizes[pickle_name] > _MAX_PICKLE:
            _refuse(path, "its pickle describes more objects than any network has; choose another file")
        data = archive.read(pickle_name)
        folder = pickle_name.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        swapped = sizes.get(order, 0) in (3, 6) and archive.read(order).decode("latin1") not in ("", sys.byteorder)

    def check_storage(storage: Storage) -> None:
        held = sizes.get(f"{folder}data/{storage.key}")
        if held is None:
            _refuse(path, f"the weights {storage.key[:40]!r} are missing from its zip archive; download it again")
        if storage.nbytes > held:
            _refuse(path, f"weights of {human_size(storage.nbytes)} take {human_size(held)} in it; download it again")

    reader = PickleReader(path, check_storage)
    saved = reader.run(io.BytesIO(data))
    return TorchFile(path, saved, {key: f"{folder}data/{key}" for key in reader.storages}, {}, swapped)


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> str:
    """Return the name of the pickle."""
    names = [member.filename for member in members]
    folder = names[0].partition("/")[0] if names else ""  # torch takes the first member's
    if f"{folder}/constants.pkl" in names or any(name.startswith(f"{folder}/code/") for name in names):
        raise UnsafeCheckpointError(
            path,
            "it is a TorchScript archive, which is a program and not only weights, so it was not opened; "
            "get the model's .pth or .safetensors",
        )
    inside = [name for name in names if name.lower().endswith((".pth", ".pt", ".safetensors", ".ckpt"))]
    if f"{folder}/data.pkl" not in names:
        if inside:
            _refuse(path, f"it is a zip archive around {inside[0][:80]!r}; unpack it and choose the file inside")
        _refuse(path, "it is a zip archive, but not one that PyTorch has written; choose a PyTorch checkpoint")
    if len(set(names)) != len(names):
        _refuse(path, "its zip archive holds the same name twice; download it again")
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if sum(member.file_size for member in members) > size * (_MAX_EXPANSION if compressed else 1):
        _refuse(path, f"its zip archive of {human_size(size)} claims to hold far more; do not use it")
    if any(member.header_offset + member.compress_size > size for member in members):
        _refuse(path, "its zip archive is truncated; download it again")
    return f"{folder}/data.pkl"


def describe_legacy(path: Path) -> TorchFile:
    """Describe a file of torch.save before PyTorch 1.6: magic number, version, system, object, keys; then storages.

    Reads the pickles and passes over the weights. Raises as `describe_zip`.
    """
    with _reading(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size

        def check_storage(storage: Storage) -> None:
            if storage.nbytes > size:
                _truncated(path, size)

        reader = PickleReader(path, check_storage)
        if reader.run(file) != _LEGACY_MAGIC:
            _refuse(path, "it is a Python pickle, but not one of torch.save; choose a PyTorch checkpoint")
        if reader.run(file) != _LEGACY_VERSION:
            _refuse(path, "it is of an unknown version of PyTorch's format; save it again with a present PyTorch")
        reader.run(file)  # sizes of C types on the machine that wrote it
        saved = reader.run(file)
        keys = reader.run(file)
        if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
            _refuse(path, "its list of weights is damaged; download it again")
        if {str(key) for key in keys} != set(reader.storages) or len(keys) != len(reader.storages):
            _refuse(path, "its list of weights does not fit its tensors; download it again")
        positions = {}
        for storage in (reader.storages[str(key)] for key in keys):
            count = file.read(8)  # then the elements
            positions[storage.key] = file.tell()
            if positions[storage.key] + storage.nbytes > size or len(count) < 8:
                _truncated(path, size)
            if int.from_bytes(count, "little") != storage.numel:
                _refuse(path, f"the weights {storage.key[:40]!r} have two different sizes; download it again")
            file.seek(storage.nbytes, os.SEEK_CUR)
    return TorchFile(path, saved, {}, positions, sys.byteorder == "big")


def read_tensors(file: TorchFile, tensors: Iterable[StoredTensor]) -> dict[StoredTensor, torch.Tensor]:
    """Read tensors into memory of their own: contiguous, on the CPU, in their stored dtypes.

    Raises:
        UnreadableCheckpointError: the file no longer holds what was described.
    """
    by_storage: dict[Storage, list[StoredTensor]] = {}
    for tensor in tensors:
        by_storage.setdefault(tensor.storage, []).append(tensor)
    result = {}
    with _reading(file.path), _storage_reader(file) as read_into:
        for storage, views in by_storage.items():
            data = _empty(file.path, storage.nbytes)
            if not read_into(storage, data.numpy().data):
                _refuse(file.path, "the file changed while it was read; try again")
            if file.swapped:
                data.untyped_storage().byteswap(storage.dtype)
            for tensor in views:
                elements = data[: storage.nbytes // tensor.dtype.itemsize * tensor.dtype.itemsize].view(tensor.dtype)
                view = elements.as_strided(tensor.shape, tensor.stride, tensor.offset) if tensor.numel else elements[:0]
                whole = view.is_contiguous() and tensor.nbytes == storage.nbytes and len(views) == 1
                own = view if whole else view.clone(memory_format=torch.contiguous_format)
                result[tensor] = own.reshape(tensor.shape)
    return result


def _empty(path: Path, nbytes: int) -> torch.Tensor:
    try:
        return torch.empty(nbytes, dtype=torch.uint8)
    except RuntimeError as error:
        raise UnreadableCheckpointError(path, f"there is not enough memory for its {human_size(nbytes)}") from error


_ReadInto = Callable[[Storage, memoryview], bool]


@contextmanager
def _storage_reader(file: TorchFile) -> Iterator[_ReadInto]:
    """A function that fills memory with the bytes of a storage, and tells whether it could."""
    with file.path.open("rb") as stream:
        if file.positions:

            def from_position(storage: Storage, memory: memoryview) -> bool:
                stream.seek(file.positions[storage.key] + storage.begin * storage.dtype.itemsize)
                return _fill(stream, memory)

            yield from_position
        else:
            with zipfile.ZipFile(stream) as archive:

                def from_member(storage: Storage, memory: memoryview) -> bool:
                    with archive.open(file.members[storage.key]) as member:
                        member.seek(storage.begin * storage.dtype.itemsize)
                        return _fill(member, memory)

                yield from_member


def _fill(stream: IO[bytes], memory: memoryview) -> bool:
    for begin in range(0, len(memory), _BLOCK):
        block = memory[begin : begin + _BLOCK]
        if stream.readinto(block) != len(block):  # type: ignore[attr-defined]
            return False
    return True


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a sentence."""
    try:
        yield
    # NotImplementedError and RuntimeError: an unknown compression method, an encrypted member; KeyError: no member
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError) as error:
        _refuse(path, f"its zip archive is truncated or damaged ({str(error)[:80]}); download it again", error)
    except OSError as error:
        _refuse(path, f"reading failed ({error.strerror or error})", error)


def _truncated(path: Path, size: int) -> NoReturn:
    _refuse(path, f"it is truncated: its weights take more than the {human_size(size)} of the file; download it again")


def _refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    raise UnreadableCheckpointError(path, problem) from cause
