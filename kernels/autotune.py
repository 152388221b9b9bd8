"""Choose on CUDA between PyTorch's operations and a kernel in Triton, by measuring both.

Which is faster depends on the device, on the shapes and on the versions of CUDA, PyTorch and Triton, so it is measured:
the first time that an operation of some kind meets a device, both compute the very input. The kernel is used from then
on if both agree and it is faster. Whatever it raises means PyTorch for as long as the process runs, and a line in the
log; only an error for want of memory goes through, because the caller has smaller tiles to try. SUPERTILE_KERNELS=off
in the environment means PyTorch always.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from .cpu.build import switched_off
from .tensors import tensors_ok

log = logging.getLogger(__name__)

Way = Callable[[], Tensor]

_TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference between both, relative to the largest value: some units in the last place, for the sums."""
_TOLERANCE_TF32 = 4e-3
_ROUNDS = 3
_PASSES_PER_ROUND = 3


def seconds_on_cuda(way: Way) -> float:
    """Return the seconds of a pass on the current device, by its own clock, with the cost of starting it."""
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(_PASSES_PER_ROUND):
        way()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1000 / _PASSES_PER_ROUND


class _Step(NamedTuple):
    """The kind of operation that one choice is made for."""

    name: str
    kind: Hashable
    dtypes: tuple[torch.dtype, ...]
    device: torch.device
    size: int
    tf32: bool

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


class Measured(NamedTuple):
    """A measurement of a kernel on one kind of operation.

    Attributes:
        operation: Its name, with what it was measured for.
        dtype: Of the first tensor.
        pytorch_s: Seconds of a pass by PyTorch; None where the kernel was not timed.
        kernel_s: Seconds of a pass by the kernel; None where it was not timed.
        failure: Why the kernel cannot be used; "" where both agree.
    """

    operation: str
    dtype: torch.dtype
    pytorch_s: float | None = None
    kernel_s: float | None = None
    failure: str = ""


class Choices:
    """The measurements so far, and the choices made from them.

    Args:
        timer: Returns the seconds of a pass.
        device: The type of device that kernels are for.

    Attributes:
        measured: What was measured, in order.
    """

    def __init__(self, timer: Callable[[Way], float] = seconds_on_cuda, device: str = "cuda") -> None:
        self._timer, self._device = timer, device
        self._kernel_wins: dict[_Step, bool] = {}
        self.measured: list[Measured] = []
        self._no_triton = False

    def best(
        self,
        name: str,
        kind: Hashable,
        plain: Way,
        kernel: Way,
        given: Sequence[Tensor | None],
        *,
        tf32: bool = False,
    ) -> Tensor:
        """Return what `plain` computes, from the faster of both, which write to no input and return a new tensor.

        Args:
            name: The operation, for the log.
            kind: Whatever may change which is faster, except dtypes, device and the rough size of the first tensor;
                takes few values.
            plain: Computes it with PyTorch.
            kernel: Computes it with Triton.
            given: All tensors that are read.
            tf32: Whether PyTorch may multiply in TF32.
        """
        tensors = [t for t in given if t is not None]
        if self._no_triton or switched_off() or not tensors_ok(tensors, _TOLERANCE, self._device):
            return plain()
        size = tensors[0].numel().bit_length() // 4  # classes of a factor of 16: small ones are bound by their start
        step = _Step(name, kind, tuple(t.dtype for t in tensors), tensors[0].device, size, tf32)
        if not _new_enough(step.device):
            return plain()
        if step not in self._kernel_wins and not _capturing(step.device):
            return self._measured(step, plain, kernel)
        if self._kernel_wins.get(step):
            try:
                with _current(step.device):
                    return kernel()
            except Exception as error:
                self._failed(step, error)
        return plain()

    def _measured(self, step: _Step, plain: Way, kernel: Way) -> Tensor:
        """Return the result, and remember which is faster."""
        expected = plain()
        if not expected.isfinite().all():  # half precision overflowed: nothing to compare
            return expected
        try:
            with _current(step.device):
                tolerance = _TOLERANCE[expected.dtype]
                if not _agree(kernel(), expected, max(tolerance, _TOLERANCE_TF32) if step.tf32 else tolerance):
                    self._kernel_wins[step] = False
                    log.info("The kernel for %s is not used: its result is not PyTorch's.", step)
                    self.measured.append(Measured(str(step), step.dtypes[0], failure="its result is not PyTorch's"))
                    return expected
                times = [(self._timer(plain), self._timer(kernel)) for _ in range(_ROUNDS)]
        except Exception as error:
            self._failed(step, error)
            return expected
        by_pytorch, by_kernel = map(min, zip(*times, strict=True))
        self._kernel_wins[step] = by_kernel < by_pytorch
        self.measured.append(Measured(str(step), step.dtypes[0], by_pytorch, by_kernel))
        log.debug("%s: %.3f ms by PyTorch, %.3f ms by the kernel", step, 1e3 * by_pytorch, 1e3 * by_kernel)
        return expected

    def _failed(self, step: _Step, error: Exception) -> None:
        """Use PyTorch from now on; raise errors for want of memory, which only the caller can mend."""
        if _is_out_of_memory(error):
            raise error
        self._kernel_wins[step] = False
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        self.measured.append(Measured(str(step), step.dtypes[0], failure=reason))
        if isinstance(error, ImportError):
            self._no_triton = True
            log.info("Kernels for CUDA are not used: %s.", reason)
        else:
            log.info("The kernel for %s is not used: %s.", step, reason)


def _agree(result: Tensor, expected: Tensor, tolerance: float) -> bool:
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return False
    if not result.numel():
        return True
    return bool((result - expected).abs().max() <= tolerance * expected.abs().max())  # False where one is not a number


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in str(error).lower()


@functools.cache
def _new_enough(device: torch.device) -> bool:
    """Return whether Triton is safe there: before sm_80 it may end the process instead of raising; AMD is untested."""
    if device.type != "cuda":
        return True
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def _capturing(device: torch.device) -> bool:
    """Return whether a CUDA graph is being captured, in which nothing may be measured."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make a device current: Triton starts its kernels there, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


CHOICES = Choices()
"""Of this process."""

best = CHOICES.best


def tf32_products() -> bool:
    """Return whether PyTorch may round fp32 to TF32 in products of matrices."""
    try:
        return torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:  # the program uses the newer switches
        return torch.backends.cuda.matmul.fp32_precision == "tf32"


def tf32_convolutions() -> bool:
    """Return whether PyTorch may round fp32 to TF32 in convolutions, where it may by default."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]


def precision_of_products() -> str:
    """Return how `tl.dot` multiplies fp32: in TF32 where PyTorch may, else in three terms, which keep 22 of 24 bits."""
    return "tf32" if tf32_products() else "tf32x3"
