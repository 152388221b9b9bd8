"""Copy images to a device and results back while it computes, through a few pinned buffers in turn.

The copies themselves are made by `Copies`, of cuda.py or of a test. This file decides when a buffer may be used again.
A caller never gets a buffer, always a copy.
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

MAX_BUFFER_BYTES = 512 << 20
"""Pinned memory is lost to all other programs. Larger tensors are copied synchronously."""

_ALIGNMENT_BYTES = 64


class Copies(Protocol):
    """Copies to and from a device, as cuda.Copies makes them."""

    def staging(self, size: int) -> Tensor: ...

    def up(self, staged: Tensor) -> tuple[Tensor, Callable[[], None]]: ...

    def down(self, tensors: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], None]: ...


@dataclass(eq=False)
class _Buffer:
    """Pinned memory that grows as needed. wait: returns when the last copy from it has been read."""

    memory: Tensor | None = None
    wait: Callable[[], None] = lambda: None

    def reserve(self, copies: Copies, size: int) -> bool:
        """Make it hold `size` bytes, and return whether it does."""
        if size > MAX_BUFFER_BYTES:
            return False
        if self.memory is None or len(self.memory) < size:
            try:
                self.memory = copies.staging(size)
            except RuntimeError as error:
                log.info("No pinned memory (%s); copies are synchronous.", str(error).partition("\n")[0])
                return False
        return True

    def view(self, start: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        assert self.memory is not None
        return self.memory[start : start + _bytes(shape, dtype)].view(dtype).view(shape)


class Uploads:
    """Uploads through two buffers in turn: one is filled while the other is in flight."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._next, self._last = _Buffer(), _Buffer()

    def send(self, image: Tensor) -> Tensor | None:
        """Return a copy on the device, fp32, for work queued from now on; None if there is no pinned memory for it.

        `image` has been read when this returns.
        """
        self._next, self._last = self._last, self._next
        buffer = self._last
        buffer.wait()
        buffer.wait = lambda: None
        if not buffer.reserve(self._copies, _bytes(image.shape, torch.float32)):
            return None
        tensor, buffer.wait = self._copies.up(buffer.view(0, image.shape, torch.float32).copy_(image))
        return tensor


class Downloads:
    """Downloads, each through a buffer that is free again once its tensors have been taken."""

    BUFFERS = 3
    """One for an image in flight, two for strips of the next image."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._free = [_Buffer() for _ in range(self.BUFFERS)]

    def send(self, *tensors: Tensor) -> Sent:
        """Copy tensors on the device as they are after all work that is queued now."""
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        starts, size = [], 0
        for tensor in tensors:
            starts.append(size)
            size += -(-_bytes(tensor.shape, tensor.dtype) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if not self._free or not self._free[-1].reserve(self._copies, size):
            return Sent(tensors, lambda: None, lambda: None)
        buffer = self._free.pop()
        staged = tuple(buffer.view(start, t.shape, t.dtype) for start, t in zip(starts, tensors, strict=True))
        wait = self._copies.down(zip(tensors, staged, strict=True))
        return Sent(staged, wait, lambda: self._free.append(buffer))


@dataclass(eq=False)
class Sent:
    """Tensors in flight to the CPU, to be taken once."""

    tensors: tuple[Tensor, ...]
    wait: Callable[[], None]
    give_back: Callable[[], None]

    def take(self, read: Callable[[Tensor], Any] = Tensor.clone) -> list[Any]:
        """Wait for the tensors and return what `read` makes of each. `read` must not keep its argument: copy it."""
        self.wait()
        with torch.inference_mode(False):  # the caller gets ordinary tensors
            results = [read(tensor.cpu()) for tensor in self.tensors]
        self.give_back()
        return results


class InOrder:
    """A context that brings tensors to the CPU in order and reads each when the next one has been sent.

    After an error nothing more is read.

    Args:
        downloads: the way to the CPU; None reads each tensor at once where it is.
    """

    def __init__(self, downloads: Downloads | None) -> None:
        self._downloads = downloads
        self._in_flight: deque[tuple[Sent, Callable[[Tensor], None]]] = deque()

    def send(self, tensor: Tensor, read: Callable[[Tensor], None]) -> None:
        if self._downloads is None:
            read(tensor)
            return
        self._in_flight.append((self._downloads.send(tensor), read))
        if len(self._in_flight) > 1:
            sent, read = self._in_flight.popleft()
            sent.take(read)

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        while self._in_flight:
            sent, read = self._in_flight.popleft()
            sent.take(read if kind is None else lambda tensor: None)


def _bytes(shape: torch.Size, dtype: torch.dtype) -> int:
    return shape.numel() * dtype.itemsize
