"""Compile the C sources of `csrc/` when they are first needed, and load their functions.

A kernel is one plain C file without PyTorch's headers, which compiles in a few seconds. It is compiled for the
instructions that PyTorch itself uses on this processor and runs in the threads of PyTorch's own OpenMP. The library is
kept for the next time, under a name that depends on the sources and the flags. On another system, without a compiler,
with another OpenMP or with SUPERTILE_KERNELS=off in the environment there are no kernels: PyTorch computes everything.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

CSRC = Path(__file__).parents[1] / "csrc"
COMPILE_TIMEOUT_S = 60

FLAGS = [
    "-O3",
    "-std=gnu11",
    "-shared",
    "-fPIC",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-tree-loop-distribute-patterns",
    "-ffp-contract=fast",
]
_INSTRUCTIONS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
    "AVX2": ["-mavx2", "-mfma"],
}

Signatures = Mapping[str, tuple[Any, Sequence[Any]]]
"""The functions of a library: name -> (type of the result, types of the arguments), as ctypes has them."""


class Struct(ctypes.Structure):
    """A C struct of which every field is given, by name."""

    def __init__(self, **values: Any) -> None:
        names = {field[0] for field in self._fields_}
        if values.keys() != names:
            raise TypeError(f"{type(self).__qualname__}: these fields do not match: {sorted(values.keys() ^ names)}")
        super().__init__(**values)


def fields(kind: Any, *names: str) -> tuple[tuple[str, Any], ...]:
    """Return the `_fields_` of a struct for fields of one type."""
    return tuple((name, kind) for name in names)


_loaded: dict[str, ctypes.CDLL | None] = {}


def load(name: str, signatures: Signatures) -> ctypes.CDLL | None:
    """Return the library compiled from `csrc/NAME.c`, or None where there are no kernels; the log says why.

    Args:
        name: The source's name, without its suffix.
        signatures: The functions that will be called.
    """
    if name not in _loaded:
        _loaded[name] = _load(name, signatures)
    return _loaded[name]


def _load(name: str, signatures: Signatures) -> ctypes.CDLL | None:
    if switched_off():
        return None
    try:
        library = ctypes.CDLL(str(_built(CSRC / f"{name}.c")))
    except (_Unavailable, OSError, subprocess.SubprocessError) as reason:
        log.info("The kernel %s is not used: %s.", name, reason)
        return None
    for symbol, (result, arguments) in signatures.items():
        function = getattr(library, symbol)
        function.restype, function.argtypes = result, arguments
    return library


def switched_off() -> bool:
    """Return whether the environment asks for PyTorch alone."""
    return os.environ.get("SUPERTILE_KERNELS", "").lower() in ("off", "0", "no")


class _Unavailable(Exception):
    """Why this machine has no kernels."""


def _built(source: Path) -> Path:
    """Return the shared library of a source, from the cache or compiled now."""
    flags = [*FLAGS, *_instruction_flags()]
    text = b"".join(path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h"))))
    key = hashlib.sha256(text + " ".join(flags).encode()).hexdigest()[:24]
    library = _cache_folder() / f"{source.stem}-{key}.so"
    if not library.exists():
        _compile(source, flags, library)
    return library


def _instruction_flags() -> list[str]:
    """Return the flags for this processor; raise _Unavailable where kernels would not run or not run well."""
    if not sys.platform.startswith("linux"):
        raise _Unavailable("kernels are for Linux")
    level = torch.backends.cpu.get_cpu_capability()
    if level not in _INSTRUCTIONS:
        raise _Unavailable(f"there are no kernels for processors with {level} instructions")
    if not _openmp_is_gnu():
        raise _Unavailable("PyTorch runs on another OpenMP than GNU's, and two of them would compete for the cores")
    flags = list(_INSTRUCTIONS[level])
    if level == "AVX512" and "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        flags.append("-mavx512bf16")
    return flags


def _openmp_is_gnu() -> bool:
    """Return whether the OpenMP that PyTorch has loaded is the one that a compiler here links with."""
    names = {line.rpartition("/")[2] for line in Path("/proc/self/maps").read_text().splitlines()}
    return any(name.startswith("libgomp.so.1") for name in names) and not any(
        name.startswith(("libiomp", "libomp")) for name in names
    )


def _cache_folder() -> Path:
    """Return a folder for compiled kernels that only this user can write to."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "supertile"
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except (OSError, RuntimeError):  # the home folder is read-only or missing
        return _temporary_folder()
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not os.access(folder, os.W_OK):
        return _temporary_folder()
    return folder


@functools.cache
def _temporary_folder() -> Path:
    """Return a folder that is deleted when the process ends."""
    import atexit

    folder = tempfile.mkdtemp(prefix="supertile-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compile(source: Path, flags: list[str], library: Path) -> None:
    """Compile into a temporary file and rename it, so that no other process loads half a library."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise _Unavailable("there is no C compiler")
    handle, unfinished = tempfile.mkstemp(suffix=".so", dir=library.parent)
    os.close(handle)
    try:
        done = subprocess.run(
            [compiler, *flags, "-o", unfinished, str(source)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode:
            raise _Unavailable(f"{compiler} failed ({done.stderr.strip().partition(chr(10))[0]})")
        os.replace(unfinished, library)
    finally:
        Path(unfinished).unlink(missing_ok=True)
