"""What a PyTorch pickle describes, found without unpickling it.

A small interpreter walks the opcodes (`pickletools.genops`) and builds plain dicts, lists and `TensorInfo`; a function
the pickle names is never called and never even looked up. So a file can be judged before torch touches it: which
functions it wants to call, how much memory its tensors would take, whether its storages are really there.
The file then goes to `torch.load(weights_only=True)`, which alone would refuse code but not absurd sizes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

from .errors import UnreadableCheckpointError, UnsafeCheckpointError
from .tensor_info import TensorInfo, human_size, shape_problem

_MAX_OPCODES = 5_000_000  # a checkpoint of 100,000 tensors takes about 3 million; bounds memory and time
_NEWEST_PROTOCOL = 2  # what torch.save writes and the safe loader of torch reads

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
_HARMLESS = frozenset(
    {"collections.OrderedDict", "collections.Counter", "torch.Size", "torch.device", "torch.Tensor"}
    | {"torch.nn.parameter.Parameter", "torch._tensor._rebuild_from_type_v2", "torch._utils._rebuild_tensor"}
    | {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter"}
    | {"torch._utils._rebuild_parameter_with_state", "builtins.set", "__builtin__.set", "_codecs.encode"}
)

_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"}
    | {"SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE"}
    | {"SHORT_BINUNICODE", "BINUNICODE8"}
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()

# All that a malformed pickle can raise in the interpreter: an empty stack, a wrong type, bad text, a cut-off argument.
_MALFORMED = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError, RecursionError)


@dataclass(frozen=True)
class _Name:
    """A function or class that the pickle names."""

    name: str


@dataclass(frozen=True)
class _Opaque:
    """What stands for a harmless value that says nothing about a network."""


@dataclass(frozen=True)
class Storage:
    """A run of elements in the file that tensors are views of; `numel` counts elements of `dtype`."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


class PickleInterpreter:
    """Reads the pickles of one file; they share memory of storages and views, but not the memo.

    Args:
        path: the file, for errors.
        check_storage: called once with each storage as soon as it is named; raises if the file cannot hold it.
    """

    def __init__(self, path: Path, check_storage: Callable[[Storage], None]) -> None:
        self.path = path
        self.storages: dict[str, Storage] = {}
        self._check_storage = check_storage
        self._opcodes = 0
        # Views of the same elements are one TensorInfo, so that tied weights are counted and copied once.
        self._views: dict[tuple[object, ...], TensorInfo] = {}

    def run(self, stream: IO[bytes]) -> object:
        """Describe the next pickle of `stream` and leave the stream behind it.

        Raises:
            UnsafeCheckpointError: it names a function or class that PyTorch checkpoints have no need of.
            UnreadableCheckpointError: truncated, damaged, or tensors that its storages cannot hold.
        """
        try:
            return self._run(stream)
        except _MALFORMED as error:
            self._refuse(f"its pickle is truncated or damaged ({str(error)[:80]}); download it again", error)

    def _run(self, stream: IO[bytes]) -> object:
        stack: list[Any] = []
        memo: dict[Any, Any] = {}
        newest = 0
        for opcode, arg, _ in pickletools.genops(stream):
            self._count(1)
            name = opcode.name
            if name != "PROTO":
                newest = max(newest, opcode.proto)
            if name in _LITERALS:
                stack.append(arg)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                memo[len(memo) if arg is None else arg] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[arg])
            elif name == "STOP":
                if newest > _NEWEST_PROTOCOL:
                    self._refuse(
                        f"it is a pickle of protocol {newest}, which PyTorch's safe loader does not read; "
                        "get it as .safetensors, or save it again with torch.save's default protocol"
                    )
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                self._step(name, arg, stack)
        raise EOFError("no end")

    def _count(self, objects: int) -> None:
        self._opcodes += objects
        if self._opcodes > _MAX_OPCODES:
            self._refuse("its pickle describes more objects than any network has; choose another file")

    def _step(self, name: str, arg: Any, stack: list[Any]) -> None:
        """The opcodes that build containers and call functions."""
        if name == "MARK":
            stack.append(_MARK)
        elif name in _TUPLES:
            items = tuple(stack.pop() for _ in range(_TUPLES[name]))[::-1]
            stack.append(items)
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items = tuple(_since_mark(stack))
            stack.append(list(items) if name == "LIST" else dict(_pairs(items)) if name == "DICT" else items)
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_SET":
            stack.append(_Opaque())
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            added = [stack.pop()] if name == "APPEND" else _since_mark(stack)
            if isinstance(stack[-1], list):
                stack[-1].extend(added)
        elif name in ("SETITEM", "SETITEMS"):
            added = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _since_mark(stack)
            if not isinstance(stack[-1], dict):
                raise TypeError("items are set in what is no dict")
            stack[-1].update(_pairs(added))
        elif name == "GLOBAL":
            stack.append(self._name(arg.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            if not isinstance(attribute, str) or not isinstance(module, str):
                raise TypeError("a name that is no text")
            stack.append(self._name(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, _Name) or not isinstance(arguments, tuple):
                raise TypeError("a call of what is no function")
            stack.append(self._call(function.name, arguments))
        elif name == "BUILD":  # the state of an object: only state dicts have one, `_metadata`, which says nothing
            state = stack.pop()
            if not isinstance(stack[-1], dict) or not isinstance(state, dict):
                raise TypeError("the state of an unknown object")
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        else:
            if name == "INST":  # a call in the text protocol
                self._name(arg.replace(" ", ".", 1))
            raise ValueError(f"the opcode {name}")

    def _name(self, name: str) -> _Name:
        if name in _EXOTIC_TENSORS:
            self._refuse(f"it holds {_EXOTIC_TENSORS[name]} tensors; get the model with plain float weights")
        if name not in _HARMLESS and name not in _STORAGES and name not in _DTYPES:
            raise UnsafeCheckpointError(
                self.path,
                f"it is a pickle that would run {name[:80]!r} when opened, so it was not opened; get the model as "
                ".safetensors, or as a file of its state dict alone",
            )
        return _Name(name)

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        """The value that a harmless function would return."""
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            storage, offset, shape, stride = args[:4]
            return self._tensor(storage, storage.dtype, offset, shape, stride)
        if name == "torch._utils._rebuild_tensor_v3":
            storage, offset, shape, stride, _, _, dtype = args[:7]
            return self._tensor(storage, _DTYPES[dtype.name], offset, shape, stride)
        if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return args[0]
        if name == "torch._tensor._rebuild_from_type_v2":
            return self._call(args[0].name, args[2])
        if name in ("collections.OrderedDict", "collections.Counter"):
            items = args[0] if args else {}
            if isinstance(items, dict):
                items = items.items()
            elif name == "collections.Counter":
                raise TypeError("a Counter of what is no dict")
            self._count(len(items))  # a copy without opcodes of its own
            return dict(_pairs([each for key, value in items for each in (key, value)]))
        if name == "torch.Size":
            self._count(len(args[0]))
            return tuple(args[0])
        if name == "_codecs.encode" and args[1:] != ("latin1",):
            raise ValueError("an unknown encoding")
        if name.endswith(".set"):
            self._count(len(args[0]))
            _check_hashable(args[0])
            return _Opaque()
        if name in ("torch.device", "_codecs.encode"):
            return _Opaque()
        raise TypeError(f"a call of {name}")  # the tensor, storage and dtype classes: torch would allocate what it says

    def _storage(self, reference: Any) -> Storage:
        kind, storage_type, key, _, numel = reference[:5]
        if kind != "storage" or type(numel) is not int or numel < 0 or not isinstance(key, (str, int)):
            raise ValueError("an unknown kind of storage")
        storage = Storage(str(key), _STORAGES[storage_type.name], numel)
        if storage.key not in self.storages:
            self._check_storage(storage)
            self.storages[storage.key] = storage
        elif storage != self.storages[storage.key]:  # torch would take the first one's dtype for both
            raise ValueError("a storage with two types or sizes")
        if len(reference) > 5 and reference[5] is not None:  # PyTorch before 0.4: a storage within a storage
            _, begin, numel = reference[5]
            if type(begin) is not int or type(numel) is not int or not 0 <= begin <= begin + numel <= storage.numel:
                raise ValueError("a storage beyond its storage")
            return Storage(f"{storage.key}+{begin}", storage.dtype, numel)
        return storage

    def _tensor(self, storage: Storage, dtype: torch.dtype, offset: Any, shape: Any, stride: Any) -> TensorInfo:
        """A view of a storage, refused if torch would have to make room for it."""
        if problem := shape_problem(shape):
            self._refuse(f"a tensor {problem}; download it again")
        if shape_problem((*stride, offset)) is not None or len(stride) != len(shape):
            raise ValueError("a tensor with impossible strides")
        info = TensorInfo(tuple(shape), dtype)
        held = storage.nbytes // dtype.itemsize
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
        if info.numel and (last >= held or info.numel > held):
            sizes = f"{human_size(info.nbytes)} claims to lie in {human_size(storage.nbytes)}"
            self._refuse(f"a tensor of {sizes}; download it again")
        return self._views.setdefault((storage.key, dtype, offset, info.shape, tuple(stride)), info)

    def _refuse(self, problem: str, cause: BaseException | None = None) -> NoReturn:
        raise UnreadableCheckpointError(self.path, problem) from cause


def _since_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _pairs(items: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Keys and values in turn -> pairs."""
    flat = list(items)
    _check_hashable(flat[::2])
    return list(zip(flat[::2], flat[1::2], strict=True))


def _check_hashable(keys: Iterable[Any]) -> None:
    """Keys must be flat: hashing a tuple that holds itself twice, sixty times over, would never end."""
    for key in keys:
        for part in key if isinstance(key, tuple) else (key,):
            if not isinstance(part, (str, bytes, int, float, type(None))):
                raise TypeError("keys that are no names")
