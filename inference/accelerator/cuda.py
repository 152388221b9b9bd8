"""What only CUDA has: streams for copies, events, recorded graphs. All the rest of the core is the same everywhere.

Nothing in this file has run on a GPU so far (docs/speed.md), so each piece is the plainest use of PyTorch's interface.
What decides when to use it lies in transfers.py, recording.py and stream.py, and is tested without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

AHEAD = 4
"""Batches that the host may be ahead of the device: enough that the device never waits, few enough that progress is
true and cancelling soon felt."""

WARM_UP = 3  # passes before a capture, in which libraries choose their kernels and take their workspaces


class Copies:
    """Copies between page-locked memory and a device, beside what it computes.

    On two streams, one for each direction: what goes up for the next image must not wait for a result to come down
    that is not computed yet.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def staging(self, size: int) -> Tensor:
        """So many bytes of page-locked memory, uint8. Raises RuntimeError where the system grants none."""
        with torch.inference_mode(False):
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def up(self, staged: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """A copy on the device, for work that is queued from now on; and what waits until `staged` has been read."""
        with torch.cuda.stream(self._up):
            tensor = staged.to(self._device, non_blocking=True)
            left = torch.cuda.Event(blocking=True)
            left.record(self._up)
        compute = torch.cuda.current_stream(self._device)
        compute.wait_event(left)
        tensor.record_stream(compute)
        return tensor, left.synchronize

    def down(self, tensors: Iterable[tuple[Tensor, Tensor]]) -> Callable[[], None]:
        """Copy each first one, contiguous on the device, into the second, staged; returns what waits for all."""
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            for tensor, staged in tensors:
                staged.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
            arrived = torch.cuda.Event(blocking=True)
            arrived.record(self._down)
        return arrived.synchronize


class Pace:
    """Called after each batch: waits where the host is more than AHEAD of them before the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._batches: deque[torch.cuda.Event] = deque()

    def __call__(self) -> None:
        done = torch.cuda.Event(blocking=True)
        done.record(torch.cuda.current_stream(self._device))
        self._batches.append(done)
        if len(self._batches) > AHEAD:
            self._batches.popleft().synchronize()


class Graph:
    """The kernels of one pass over batches of one shape, launched at once.

    Its memory is its own for as long as it lives, and so are the addresses of weights and constants in it: whoever
    replaces those must drop it.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], like: Tensor) -> None:
        """like: any batch of the shape. Raises whatever a capture may."""
        device = like.device
        self._input = like.clone()
        with torch.cuda.device(device):
            side = torch.cuda.Stream(device)
            side.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    network(self._input)
            torch.cuda.current_stream(device).wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Of this thread alone: those that decode and encode beside it allocate page-locked memory at any time.
            with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                self._output = network(self._input)

    def __call__(self, batch: Tensor) -> Tensor:
        """What the network gives for `batch`, in memory of its own."""
        self._input.copy_(batch)
        self._graph.replay()
        return self._output.clone()


def current(device: torch.device) -> AbstractContextManager[object]:
    """The caller's device and stream, to be entered in another thread."""
    return torch.cuda.stream(torch.cuda.current_stream(device))
