"""Who computes an operation: a kernel in C on a CPU, one in Triton on CUDA, or PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

from .. import autotune


def fastest(
    operation: str,
    plain: Callable[[], Tensor],
    *,
    c: Callable[[], Tensor] | None,
    triton: Callable[[], Tensor] | None,
    tensors: Sequence[Tensor | None],
    kind: Hashable = (),
    tf32: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Return what an operation computes, from the backend that computes it fastest.

    Args:
        operation: Its name in the log.
        plain: Computes it with PyTorch.
        c: Computes it with a kernel for CPUs, which is always faster; None where there is none that can run.
        triton: Computes it with a kernel for CUDA, where both ways are measured once; None where there is none.
        tensors: All that is read.
        kind: What else may change which is faster; see `autotune`.
        tf32: Whether PyTorch may multiply in TF32, which is how exact a kernel has to be.
    """
    if c is not None:
        return c()
    if triton is None:
        return plain()
    return autotune.best(operation, kind, plain, triton, tensors, tf32=tf32())
