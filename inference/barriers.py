"""Let the threads of OpenMP sleep instead of spin while they wait for each other.

GNU's OpenMP spins at each barrier for some milliseconds, unless it has started more threads than there are cores: then
it sleeps at once. It decides anew at each barrier, for all threads of the process. So threads that only sleep, one more
than there are cores, change it for as long as they exist, also where PyTorch was loaded long before. See `do_spin` and
`gomp_managed_threads` in libgomp.
"""

from __future__ import annotations

import ctypes
import os
import threading

from .openmp import gomp_parallel

_state = threading.Lock()
_sleepers: threading.Event | None = None


def sleep_at_barriers(wanted: bool) -> None:
    """Choose for this process. Does nothing where PyTorch's OpenMP is not GNU's."""
    global _sleepers
    with _state:
        if wanted and _sleepers is None and gomp_parallel() is not None:
            _sleepers, started = threading.Event(), threading.Event()
            threading.Thread(target=_keep_threads, args=(_sleepers, started), name="openmp", daemon=True).start()
            started.wait()
        elif not wanted and _sleepers is not None:
            _sleepers.set()
            _sleepers = None


def _keep_threads(stop: threading.Event, started: threading.Event) -> None:
    """Start a team of threads of OpenMP, which exists until this thread ends."""
    parallel = gomp_parallel()
    assert parallel is not None
    body = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)  # anything that returns at once
    parallel(body, None, (os.cpu_count() or 1) + 1, 0)
    started.set()
    stop.wait()
