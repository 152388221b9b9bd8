"""Images to a device and results back while it computes, through a few pieces of page-locked memory in turn.

Who does the copying is `Copies`: cuda.py's, or a test's. Here is when a piece may be used again, and that what a caller
gets is never a piece.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)

LARGEST = 512 << 20
"""Bytes of a piece, at most: page-locked memory is taken from everybody else. What is larger is waited for."""

_ALIGNED = 64


class Copies(Protocol):
    """See cuda.Copies."""

    def staging(self, size: int) -> Tensor: ...

    def up(self, staged: Tensor) -> tuple[Tensor, Callable[[], None]]: ...

    def down(self, tensors: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], None]: ...


@dataclass(eq=False)
class _Piece:
    memory: Tensor | None = None
    wait: Callable[[], None] = lambda: None  # until a copy from it has been read

    def take(self, copies: Copies, size: int) -> bool:
        """Whether it now has `size` bytes."""
        if size > LARGEST:
            return False
        if self.memory is None or len(self.memory) < size:
            try:
                self.memory = copies.staging(size)
            except RuntimeError as error:
                log.info("No page-locked memory (%s); copies are waited for.", str(error).partition("\n")[0])
                return False
        return True

    def view(self, start: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        assert self.memory is not None
        return self.memory[start : start + _bytes(shape, dtype)].view(dtype).view(shape)


class Uploads:
    """Two pieces in turn: one is filled while the other is on its way."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._next, self._last = _Piece(), _Piece()

    def send(self, image: Tensor) -> Tensor | None:
        """A copy of a tensor on the CPU, fp32, for work queued from now on; None where there is no memory for it.

        `image` has been read when this returns.
        """
        self._next, self._last = self._last, self._next
        piece = self._last
        piece.wait()
        piece.wait = lambda: None
        if not piece.take(self._copies, _bytes(image.shape, torch.float32)):
            return None
        tensor, piece.wait = self._copies.up(piece.view(0, image.shape, torch.float32).copy_(image))
        return tensor


class Downloads:
    """Results on their way to the CPU, each through a piece that is free again once it has been taken."""

    PIECES = 3
    """An image on its way and two of its successor's strips."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._free = [_Piece() for _ in range(self.PIECES)]

    def send(self, *tensors: Tensor) -> Sent:
        """Tensors on the device, as they are once what is queued now has been computed."""
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        starts, size = [], 0
        for tensor in tensors:
            starts.append(size)
            size += -(-_bytes(tensor.shape, tensor.dtype) // _ALIGNED) * _ALIGNED
        if not self._free or not self._free[-1].take(self._copies, size):
            return Sent(tensors, lambda: None, lambda: None)
        piece = self._free.pop()
        staged = tuple(piece.view(start, t.shape, t.dtype) for start, t in zip(starts, tensors, strict=True))
        wait = self._copies.down(zip(tensors, staged, strict=True))
        return Sent(staged, wait, lambda: self._free.append(piece))


@dataclass(eq=False)
class Sent:
    """Tensors on their way. To be taken once."""

    tensors: tuple[Tensor, ...]
    wait: Callable[[], None]
    give_back: Callable[[], None]

    def take(self, read: Callable[[Tensor], Any] = Tensor.clone) -> list[Any]:
        """Wait for them, and give what `read` makes of each; as it comes, a tensor is not the caller's to keep."""
        self.wait()
        with torch.inference_mode(False):  # what is cloned is the user's: an ordinary tensor
            found = [read(tensor.cpu()) for tensor in self.tensors]
        self.give_back()
        return found


class InOrder:
    """A context in which tensors go to the CPU one after the other, each read when its successor has been sent.

    down: None where they are to be read at once, as they are. After an error nothing more is read.
    """

    def __init__(self, down: Downloads | None) -> None:
        self._down = down
        self._going: deque[tuple[Sent, Callable[[Tensor], None]]] = deque()

    def send(self, tensor: Tensor, read: Callable[[Tensor], None]) -> None:
        if self._down is None:
            read(tensor)
            return
        self._going.append((self._down.send(tensor), read))
        if len(self._going) > 1:
            sent, read = self._going.popleft()
            sent.take(read)

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        while self._going:
            sent, read = self._going.popleft()
            sent.take(read if kind is None else lambda tensor: None)


def _bytes(shape: torch.Size, dtype: torch.dtype) -> int:
    return shape.numel() * dtype.itemsize
