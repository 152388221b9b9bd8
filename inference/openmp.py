"""GNU's OpenMP, on which PyTorch for Linux runs, called directly."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any

import torch


@functools.cache
def gomp_parallel() -> Any:
    """Return `GOMP_parallel(function, data, threads, flags)`, or None where PyTorch runs on another OpenMP."""
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
