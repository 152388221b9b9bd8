"""Let the threads of OpenMP sleep instead of spin while they wait for each other.

GNU's OpenMP spins at each barrier for some milliseconds, unless it has started more threads than there are cores: then
it sleeps at once. It decides anew at each barrier, for all threads of the process. So threads that only sleep, one more
than there are cores, change it for as long as they exist, also where PyTorch was loaded long before. See `do_spin` and
`gomp_managed_threads` in libgomp.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch

_state = threading.Lock()
_sleepers: threading.Event | None = None


def sleep_at_barriers(wanted: bool) -> None:
    """Choose for this process. Does nothing where PyTorch's OpenMP is not GNU's."""
    global _sleepers
    with _state:
        if wanted and _sleepers is None and _parallel() is not None:
            _sleepers, started = threading.Event(), threading.Event()
            threading.Thread(target=_keep_threads, args=(_sleepers, started), name="openmp", daemon=True).start()
            started.wait()
        elif not wanted and _sleepers is not None:
            _sleepers.set()
            _sleepers = None


def _keep_threads(stop: threading.Event, started: threading.Event) -> None:
    """Start a team of threads of OpenMP, which exists until this thread ends."""
    parallel = _parallel()
    assert parallel is not None
    body = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)  # anything that returns at once
    parallel(body, None, (os.cpu_count() or 1) + 1, 0)
    started.set()
    stop.wait()


@functools.cache
def _parallel() -> Any:
    """Return `GOMP_parallel` of the OpenMP that PyTorch runs on, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        function = library.GOMP_parallel  # of its dependency
        names = Path("/proc/self/maps").read_text(errors="replace")
    except (OSError, AttributeError):
        return None
    if "libgomp" not in names or "libiomp" in names or "libomp" in names:
        return None
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return function
