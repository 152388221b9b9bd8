"""CUDA streams for copies, events, and CUDA graphs: all that the core needs of CUDA itself.

Nothing in this file has run on a GPU so far (docs/speed.md), so each class is the plainest use of PyTorch's interface.
When they are used is decided in transfers.py, cuda_graphs.py and stream.py, which are tested without a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

MAX_BATCHES_IN_FLIGHT = 4
"""Enough that the device never waits for the host, few enough that progress is true and cancelling is quick."""

WARM_UP_PASSES = 3
"""Passes before a capture, in which libraries choose their kernels and allocate their workspaces."""


class Copies:
    """Copies between pinned memory and a device while it computes.

    Each direction has a stream: the upload of the next image must not wait for the download of a result that has not
    been computed yet.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def staging(self, size: int) -> Tensor:
        """Allocate pinned memory.

        Args:
            size: bytes.

        Returns:
            (size,) uint8.

        Raises:
            RuntimeError: the system grants none.
        """
        with torch.inference_mode(False):
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def up(self, staged: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """Copy pinned memory to the device.

        Returns:
            The copy, for work that is queued from now on, and a function that waits until `staged` has been read.
        """
        with torch.cuda.stream(self._up):
            tensor = staged.to(self._device, non_blocking=True)
            read = torch.cuda.Event(blocking=True)
            read.record(self._up)
        compute = torch.cuda.current_stream(self._device)
        compute.wait_event(read)
        tensor.record_stream(compute)
        return tensor, read.synchronize

    def down(self, tensors: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], None]:
        """Copy contiguous tensors of the device into pinned ones.

        Args:
            tensors: pairs of a tensor on the device and a pinned one.

        Returns:
            A function that waits until all have arrived.
        """
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            for tensor, staged in tensors:
                staged.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
            arrived = torch.cuda.Event(blocking=True)
            arrived.record(self._down)
        return arrived.synchronize


class Pace:
    """Wait for the device, when called after a batch, while more than MAX_BATCHES_IN_FLIGHT are in flight."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._batches: deque[torch.cuda.Event] = deque()

    def __call__(self) -> None:
        done = torch.cuda.Event(blocking=True)
        done.record(torch.cuda.current_stream(self._device))
        self._batches.append(done)
        if len(self._batches) > MAX_BATCHES_IN_FLIGHT:
            self._batches.popleft().synchronize()


class Graph:
    """A CUDA graph of one pass over batches of one shape.

    It keeps its own memory, and the addresses of weights and constants: if these are replaced, it must be dropped.

    Args:
        network: the pass to record.
        like: any batch of the shape. A capture may raise anything.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], like: Tensor) -> None:
        device = like.device
        self._input = like.clone()
        with torch.cuda.device(device):
            side = torch.cuda.Stream(device)
            side.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UP_PASSES):
                    network(self._input)
            torch.cuda.current_stream(device).wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Capture this thread only: those that decode and encode allocate pinned memory at any time.
            with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                self._output = network(self._input)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the network's output for `batch`, as a new tensor."""
        self._input.copy_(batch)
        self._graph.replay()
        return self._output.clone()


def current(device: torch.device) -> AbstractContextManager[object]:
    """Return the caller's device and stream as a context, to be entered in another thread."""
    return torch.cuda.stream(torch.cuda.current_stream(device))
