"""Parse a pickle with Python's own unpickler, held within limits, and without reaching any function.

`pickle._Unpickler` is the standard library's unpickler in Python. The one in C, `pickle.Unpickler`, takes 16 GB for a
single opcode that names a large place in its memo. `torch.load(weights_only=True, map_location="meta")` calls
`bytearray(2**31)` where a file says so, hashes a tuple of tuples of tuples for ever, and refuses files with a trainer's
own classes beside the weights.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, ClassVar

_MAX_OBJECTS = 5_000_000  # a checkpoint of 100,000 tensors takes about 3 million opcodes; bounds memory and time
_MAX_BYTES = 2**26
_MAX_NAME_BYTES = 1000

# All that a malformed pickle can raise: an empty stack, a wrong type, bad text, a cut-off argument.
MALFORMED = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError, RecursionError),
    *(struct.error, pickle.UnpicklingError),
)


class TooLargeError(Exception):
    """The pickles of a file hold more than the limits allow."""


class Limits:
    """The objects and bytes that the pickles of one file may still hold."""

    def __init__(self) -> None:
        self.objects = _MAX_OBJECTS
        self.bytes = _MAX_BYTES

    def take(self, objects: int) -> None:
        """Count objects. Raises TooLargeError when too few are left."""
        self.objects -= objects
        if self.objects < 0:
            raise TooLargeError


@dataclass(frozen=True)
class Global:
    """A function or class that the pickle names; `call` is what stands for it."""

    name: str
    call: Callable[..., Any]


class StandIn(dict[Any, Any]):
    """An object of an unknown class: keeps the items of a dict, forgets everything else, runs nothing."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key: of an enumeration, a path

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...


class _LimitedStream:
    """Reads the arguments of opcodes, which count as bytes."""

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        self._read, self._readline = stream.read, stream.readline
        self._limits = limits

    def read(self, size: int) -> bytes:
        limits = self._limits
        if size > _MAX_BYTES:
            raise EOFError(f"a string of {size} bytes")
        limits.bytes -= size
        if limits.bytes < 0:
            raise TooLargeError
        return self._read(size)

    def readline(self) -> bytes:
        line = self._readline(_MAX_NAME_BYTES)
        self._limits.bytes -= len(line)
        if self._limits.bytes < 0:
            raise TooLargeError
        return line


# What torch.save writes, and what else comes before the name of a function in a hostile pickle of a newer protocol.
_PLAIN_OPCODES = (
    "MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWFALSE NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT APPEND APPENDS "
    "BININT BININT1 BININT2 BINFLOAT LONG1 BINUNICODE SHORT_BINUNICODE SHORT_BINSTRING BINSTRING BINBYTES "
    "SHORT_BINBYTES BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL BINPERSID PROTO"
)


class Unpickler(pickle._Unpickler):
    """Parses one pickle; what it names and refers to is left to two functions.

    Args:
        stream: where the pickle begins; it is left where the pickle ends.
        limits: what the pickles of the file may hold together.
        find: a name -> its stand-in. Nothing but these stand-ins is ever called.
        storage: the persistent id of a storage -> what stands for it.

    `load` raises one of MALFORMED for a damaged pickle, TooLargeError, and what the two functions raise.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (getattr(pickle, name) for name in _PLAIN_OPCODES.split())
    }
    proto: int
    stack: list[Any]

    def __init__(
        self, stream: IO[bytes], limits: Limits, find: Callable[[str], Global], storage: Callable[[Any], object]
    ) -> None:
        super().__init__(_LimitedStream(stream, limits), encoding="latin1")
        self._stream, self._limits = stream, limits
        self._find = find
        self._storage = storage

    def load(self) -> object:
        """Return the object of the pickle.

        This is the loop of the standard library, without frames, for half of its time; opcodes count as objects.
        """
        arguments = _LimitedStream(self._stream, self._limits)
        self.read, self.readline = arguments.read, arguments.readline
        self.metastack: list[list[Any]] = []
        self.stack = []
        self.append = self.stack.append
        self.proto = 0
        next_byte, functions, limits, stop = self._stream.read, type(self).dispatch, self._limits, pickle.STOP
        while code := next_byte(1):
            limits.objects -= 1
            if limits.objects < 0:
                raise TooLargeError
            if code == stop:
                return self.stack.pop()
            functions[code[0]](self)
        raise EOFError

    def find_class(self, module: str, name: str) -> Global:
        return self._find(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> object:
        return self._storage(pid)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no function")
        self.stack.append(function.call(*arguments))

    def load_build(self) -> None:
        self.stack.pop()  # the state of an object, which says nothing about weights

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        set_items(self.stack[-1], items)

    def load_frame(self) -> None:
        self.read(8)  # reading a frame at once would pass by the limits

    dispatch |= {pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_reduce, pickle.BUILD[0]: load_build}
    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.FRAME[0]: load_frame}


def set_items(target: Any, flat: Sequence[Any]) -> None:
    """Set the items of a dict, given as keys and values in turn."""
    if not isinstance(target, dict):
        raise TypeError("items are set in what is no dict")
    keys = flat[::2]
    check_keys(keys)
    target.update(zip(keys, flat[1::2], strict=True))


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse nested keys: hashing a tuple that holds itself twice, sixty times over, would never end."""
    for key in keys:
        for item in key if isinstance(key, tuple) else (key,):
            if not isinstance(item, (str, bytes, int, float, type(None), Global, StandIn)):
                raise TypeError("keys that are no names")
