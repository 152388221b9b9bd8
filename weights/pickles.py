"""Read the plain containers that a PyTorch pickle describes, with shapes and dtypes instead of tensors; run nothing.

Nothing a pickle names is ever looked up or called: tensors, storages and dicts have stand-ins that describe them, and
objects of other classes become empty ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

from .errors import UnreadableCheckpointError, UnsafeCheckpointError
from .tensor_info import TensorInfo, human_size, shape_problem
from .unpickler import MALFORMED, Global, Limits, StandIn, TooLargeError, Unpickler, check_keys, set_items

_NEWEST_PROTOCOL = 3  # torch.save writes 2; nothing changes in 3 but bytes

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip
_STORAGES = {f"{module}.{name}": d for module in ("torch", "torch.cuda") for name, d in _STORAGE_DTYPES.items()}
_STORAGES |= {f"torch.storage.{name}": torch.uint8 for name in ("UntypedStorage", "_UntypedStorage")}
_STORAGES |= {"torch.UntypedStorage": torch.uint8}

_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}

_EXOTIC_TENSORS = {
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta (without values)",
    "torch._utils._rebuild_wrapper_subclass": "wrapped",
    "torch._utils._rebuild_device_tensor_from_numpy": "accelerator-only",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "accelerator-only",
    "torch.QInt8Storage": "quantized",
    "torch.QUInt8Storage": "quantized",
    "torch.QInt32Storage": "quantized",
    "torch.QUInt4x2Storage": "quantized",
    "torch.QUInt2x4Storage": "quantized",
}

# Nothing that a pickle names is ever called. A name of Python's standard library or of torch is refused all the same,
# with these exceptions: such a file is an attack, or a whole program instead of weights. Any other name is a class of
# some trainer (NumPy's scalars, omegaconf, Lightning) and gets a stand-in.
_STANDARD_LIBRARY = sys.stdlib_module_names | {"__builtin__", "copy_reg", "torch"}
_HARMLESS_PREFIXES = (
    *("collections.", "datetime.", "decimal.", "enum.", "fractions.", "pathlib.", "typing.", "uuid."),
    *("torch.optim.", "torch.torch_version.", "torch.distributed."),
)
_HARMLESS_NAMES = frozenset(
    {"torch.device", "_codecs.encode", "argparse.Namespace", "types.SimpleNamespace"}
    | {"copyreg._reconstructor", "copy_reg._reconstructor"}
    | {
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("bool", "complex", "dict", "float", "frozenset", "int", "list", "object", "slice", "str", "tuple")
    }
)


@dataclass(frozen=True)
class Storage:
    """A run of elements in the file that tensors are views of; `numel` and `begin` count elements of `dtype`."""

    key: str
    dtype: torch.dtype
    numel: int
    begin: int = 0

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor(TensorInfo):
    """A tensor of a pickle, and which elements of its storage it shows; `offset` and `stride` count elements."""

    storage: Storage
    offset: int
    stride: tuple[int, ...]


class PickleReader:
    """Reads the pickles of one file; they share storages, tensors and the limit on their size.

    Args:
        path: the file, for errors.
        check_storage: called once with each storage as soon as it is named; raises if the file cannot hold it.
    """

    def __init__(self, path: Path, check_storage: Callable[[Storage], None]) -> None:
        self.path = path
        self.storages: dict[str, Storage] = {}
        self._check_storage = check_storage
        self._limits = Limits()
        self._tensors: dict[StoredTensor, StoredTensor] = {}  # tied weights are one object, counted and copied once
        self._functions: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._typed_tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter,
            "torch._tensor._rebuild_from_type_v2": self._subclass,
            "collections.OrderedDict": self._dict,
            "collections.Counter": self._counter,
            "torch.Size": self._size,
            **dict.fromkeys(("builtins.set", "__builtin__.set"), self._set),
            **dict.fromkeys(("torch.Tensor", "torch.nn.parameter.Parameter", *_STORAGES, *_DTYPES), _refuse_call),
        }

    def run(self, stream: IO[bytes]) -> object:
        """Return what the next pickle of `stream` holds: plain containers, with `StoredTensor` for tensors.

        Raises:
            UnsafeCheckpointError: it names a function or class that has no place in a file of weights.
            UnreadableCheckpointError: truncated, damaged, or with tensors that its storages cannot hold.
        """
        unpickler = Unpickler(stream, self._limits, self._find, self._storage)
        try:
            described = unpickler.load()
        except TooLargeError as error:
            self._refuse("its pickle describes more objects than any network has; choose another file", error)
        except MALFORMED as error:
            reason = str(error)[:80] or type(error).__name__
            self._refuse(f"its pickle is truncated or damaged ({reason}); download it again", error)
        if unpickler.proto > _NEWEST_PROTOCOL:
            self._refuse(
                f"it is a pickle of protocol {unpickler.proto}, which PyTorch's safe loader does not read either; "
                "get it as .safetensors, or save it again with torch.save's default protocol"
            )
        return described

    def _find(self, name: str) -> Global:
        """Return the stand-in for a function or class."""
        if name in _EXOTIC_TENSORS:
            self._refuse(f"it holds {_EXOTIC_TENSORS[name]} tensors; get the model with plain float weights")
        package = name.partition(".")[0]
        known = name in self._functions or name in _HARMLESS_NAMES or name.startswith(_HARMLESS_PREFIXES)
        if package in _STANDARD_LIBRARY and not known:
            raise UnsafeCheckpointError(
                self.path,
                f"it is a pickle that would run {name[:80]!r} when opened, so it was not opened; get the model as "
                ".safetensors, or as a file of its state dict alone",
            )
        return Global(name, self._functions.get(name, _stand_in))

    def _storage(self, reference: Any) -> Storage:
        """Return the storage that a persistent id refers to."""
        kind, storage_type, key, _, numel = reference[:5]
        if kind != "storage" or type(numel) is not int or numel < 0 or not isinstance(key, (str, int)):
            raise ValueError("an unknown kind of storage")
        storage = Storage(str(key), _STORAGES[storage_type.name], numel)
        if storage.key not in self.storages:
            self._check_storage(storage)
            self.storages[storage.key] = storage
        elif storage != self.storages[storage.key]:
            raise ValueError("a storage with two types or sizes")
        if len(reference) > 5 and reference[5] is not None:  # PyTorch before 0.4: a storage within a storage
            _, begin, numel = reference[5]
            if type(begin) is not int or type(numel) is not int or not 0 <= begin <= begin + numel <= storage.numel:
                raise ValueError("a storage beyond its storage")
            return Storage(storage.key, storage.dtype, numel, begin)
        return storage

    def _tensor(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
        return self._view(storage, storage.dtype, offset, shape, stride)

    def _typed_tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, _: Any, __: Any, dtype: Any) -> Any:
        return self._view(storage, _DTYPES[dtype.name], offset, shape, stride)

    def _view(self, storage: Storage, dtype: torch.dtype, offset: Any, shape: Any, stride: Any) -> StoredTensor:
        """Return a view of a storage; refuse it if it claims more than lies there."""
        if problem := shape_problem(shape):
            self._refuse(f"a tensor {problem}; download it again")
        if shape_problem((*stride, offset)) is not None or len(stride) != len(shape):
            raise ValueError("a tensor with impossible strides")
        tensor = StoredTensor(tuple(shape), dtype, storage, offset, tuple(stride))
        held = storage.nbytes // dtype.itemsize
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
        if tensor.numel and (last >= held or tensor.numel > held):
            sizes = f"{human_size(tensor.nbytes)} claims to lie in {human_size(storage.nbytes)}"
            self._refuse(f"a tensor of {sizes}; download it again")
        return self._tensors.setdefault(tensor, tensor)

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor

    def _subclass(self, function: Any, _: Any, arguments: Any, *__: Any) -> Any:
        return function.call(*arguments)

    def _dict(self, items: Any = ()) -> Any:
        pairs = list(items.items() if isinstance(items, dict) else items)
        self._limits.take(len(pairs))  # a copy without opcodes of its own
        result = StandIn()
        set_items(result, [each for key, value in pairs for each in (key, value)])
        return result

    def _counter(self, items: Any) -> Any:
        if not isinstance(items, dict):
            raise TypeError("a Counter of what is no dict")
        return self._dict(items)

    def _size(self, sides: Any) -> Any:
        self._limits.take(len(sides))
        return tuple(sides)

    def _set(self, items: Any = ()) -> Any:
        self._limits.take(len(items))
        check_keys(items)
        return StandIn()

    def _refuse(self, problem: str, cause: BaseException | None = None) -> NoReturn:
        raise UnreadableCheckpointError(self.path, problem) from cause


def _stand_in(*_: object) -> StandIn:
    return StandIn()


def _refuse_call(*_: object) -> NoReturn:
    raise TypeError("a call of a type of tensors")  # torch would allocate as much as the arguments say
