"""The two containers of torch.save: a zip of one pickle and its storages, and (before PyTorch 1.6) pickles in a row.

`describe_*` say what a file holds and check that it really does, without reading a tensor; `load_pickled` lets torch
read what has been described. Which tensors of it are the network is decided in `state_dicts.py`.
"""

from __future__ import annotations

import io
import mmap
import warnings
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import NoReturn

import torch

from .errors import UnreadableCheckpointError, UnsafeCheckpointError
from .pickles import PickleInterpreter, Storage
from .tensor_info import human_size

# torch.save stores without compression, so what the members take together is what the file takes. Somebody may have
# packed the zip anew; weights shrink little by that, so a file that unfolds to more is a bomb.
_MAX_EXPANSION = 4

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


def describe_zip(path: Path) -> tuple[object, bool]:
    """Describe a zip of torch.save; returns the saved object with `TensorInfo` for tensors, and if it can be mmapped.

    Raises:
        UnsafeCheckpointError: TorchScript, or a pickle that would run code.
        UnreadableCheckpointError: truncated, damaged, another program's zip, or unfolding to more than it holds.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = path.stat().st_size
            pickle_name, compressed = _check_members(path, members, size)
            sizes = {member.filename: member.file_size for member in members}
            data = archive.read(pickle_name)
    # NotImplementedError and RuntimeError: an unknown compression method, an encrypted member
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        _refuse(path, f"its zip archive is truncated or damaged ({str(error)[:80]}); download it again", error)

    folder = pickle_name.removesuffix("data.pkl")

    def check_storage(storage: Storage) -> None:
        held = sizes.get(f"{folder}data/{storage.key}")
        if held is None:
            _refuse(path, f"the weights {storage.key[:40]!r} are missing from its zip archive; download it again")
        if storage.nbytes > held:
            _refuse(path, f"weights of {human_size(storage.nbytes)} take {human_size(held)} in it; download it again")

    return PickleInterpreter(path, check_storage).run(io.BytesIO(data)), not compressed


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> tuple[str, bool]:
    """Returns the name of the pickle, and whether anything is compressed."""
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
    return f"{folder}/data.pkl", compressed


def describe_legacy(path: Path) -> object:
    """Describe a file of torch.save before PyTorch 1.6: magic number, version, system, object, keys; then storages.

    Raises: as `describe_zip`.
    """
    try:
        # Mapped, not read: the pickles are a small part of the file, and their length is known only by reading them.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _describe_legacy(path, data)
    except OSError as error:
        _refuse(path, f"reading failed ({error.strerror or error})", error)


def _describe_legacy(path: Path, data: mmap.mmap) -> object:
    size = len(data)

    def check_storage(storage: Storage) -> None:
        if storage.nbytes > size:
            _truncated(path, size)

    interpreter = PickleInterpreter(path, check_storage)
    if interpreter.run(data) != _LEGACY_MAGIC:  # type: ignore[arg-type]  # an mmap has all that is read from
        _refuse(path, "it is a Python pickle, but not one of torch.save; choose a PyTorch checkpoint")
    if interpreter.run(data) != _LEGACY_VERSION:  # type: ignore[arg-type]
        _refuse(path, "it is of an unknown version of PyTorch's format; save it again with a present PyTorch")
    interpreter.run(data)  # type: ignore[arg-type]  # sizes of C types on the machine that wrote it
    described = interpreter.run(data)  # type: ignore[arg-type]
    keys = interpreter.run(data)  # type: ignore[arg-type]

    # After the pickles: for each key the number of elements (int64) and the elements.
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        _refuse(path, "its list of weights is damaged; download it again")
    if {str(key) for key in keys} != set(interpreter.storages) or len(keys) != len(interpreter.storages):
        _refuse(path, "its list of weights does not fit its tensors; download it again")
    position = data.tell()
    for key in keys:
        storage = interpreter.storages[str(key)]
        if position + 8 + storage.nbytes > size:
            _truncated(path, size)
        if int.from_bytes(data[position : position + 8], "little") != storage.numel:
            _refuse(path, f"the weights {str(key)[:40]!r} have two different sizes; download it again")
        position += 8 + storage.nbytes
    return described


def load_pickled(path: Path, mapped: bool) -> object:
    """Let torch read a file that `describe_*` accepted. Its tensors are views of the file where `mapped`.

    Raises:
        UnsafeCheckpointError: the safe loader of this version of torch refuses what the pickle names.
        UnreadableCheckpointError: it fails in any other way.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old storage classes: nothing a user can act on
            if path.name.endswith(
                ".safetensors"
            ):  # of a path, torch believes the extension; of an open file it does not
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        reason = str(error).strip().partition("\n")[0][:160]
        raise UnsafeCheckpointError(
            path, f"PyTorch's safe loader refuses it ({reason}); get the model as .safetensors"
        ) from error
    except Exception as error:  # what torch raises on damaged files is not documented and changes with its versions
        reason = str(error).strip().partition("\n")[0][:160]
        _refuse(path, f"PyTorch cannot read it ({reason}); download it again", error)


def _truncated(path: Path, size: int) -> NoReturn:
    _refuse(path, f"it is truncated: its weights take more than the {human_size(size)} of the file; download it again")


def _refuse(path: Path, problem: str, cause: BaseException | None = None) -> NoReturn:
    raise UnreadableCheckpointError(path, problem) from cause
