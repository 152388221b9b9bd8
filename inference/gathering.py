"""Gather the threads that compute on a few cores, so that other programs get the others.

Beside as many busy programs as there are cores, a system gives each thread half of one. Spread over all cores, threads
get their halves at different times, and each waits at every barrier for one that waits for a core. Gathered two to a
core, they have these cores nearly to themselves, because the system moves the other programs away: it balances how many
threads want each core. So they get as much time as before, but together.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

import torch

from .openmp import gomp_parallel

Cores = set[int]


def can_gather() -> bool:
    """Return whether the threads of this process can be bound, and nobody else has bound them."""
    bound = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")
    return gomp_parallel() is not None and not any(name in os.environ for name in bound)


def gather(count: int) -> Cores:
    """Bind the calling thread and those that compute with it to `count` cores, from the one on which it runs now.

    Returns:
        The cores that they might use before, for `spread`.
    """
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    here = ctypes.CDLL(None).sched_getcpu()
    first = cores.index(here) if here in before else 0
    spread({(cores + cores)[first + n] for n in range(min(count, len(cores)))})
    return before


def spread(cores: Cores) -> None:
    """Let the calling thread, and those that compute with it, use these cores."""

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def bind(_: object) -> None:
        with suppress(OSError):  # the system has taken these cores from this process
            os.sched_setaffinity(0, cores)

    parallel = gomp_parallel()
    if parallel is not None:
        parallel(ctypes.cast(bind, ctypes.c_void_p), None, torch.get_num_threads(), 0)
