"""C sources beside this file -> functions, compiled when they are first needed and kept for the next time.

A kernel is one plain C file without PyTorch's headers, so that compiling takes a second at most. It is compiled for
the instructions that PyTorch itself uses on this processor, and runs in the threads of PyTorch's own OpenMP. Where any
of this is missing (another system, no compiler, another OpenMP, no folder to write to) there is no kernel, and the
networks compute with PyTorch alone; SUPERTILE_KERNELS=off in the environment asks for that.
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
from pathlib import Path

import torch

log = logging.getLogger(__name__)

_FLAGS = [
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
CSRC = Path(__file__).parents[1] / "csrc"
_SECONDS = 60  # that a compiler may take


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """The functions of `name`.c; None where they cannot be had, which is said in the log."""
    if switched_off():
        return None
    try:
        return ctypes.CDLL(str(_built(CSRC / f"{name}.c")))
    except (_NotHere, OSError, subprocess.SubprocessError) as reason:
        log.info("The kernel %s is not used: %s.", name, reason)
        return None


def switched_off() -> bool:
    """Whether the environment asks for PyTorch alone."""
    return os.environ.get("SUPERTILE_KERNELS", "").lower() in ("off", "0", "no")


class _NotHere(Exception):
    """Why this machine has no kernels."""


def _built(source: Path) -> Path:
    """The shared library made of `source`, from the cache or compiled now."""
    if not sys.platform.startswith("linux"):
        raise _NotHere("they are for Linux")
    level = torch.backends.cpu.get_cpu_capability()
    if level not in _INSTRUCTIONS:
        raise _NotHere(f"there are none for processors with {level} instructions")
    if not _openmp_is_gnu():
        raise _NotHere("PyTorch runs on another OpenMP than GNU's, and two of them would fight for the cores")
    flags = [*_FLAGS, *_INSTRUCTIONS[level]]
    if level == "AVX512" and "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        flags.append("-mavx512bf16")
    text = b"".join(path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h"))))
    made = _folder() / f"{source.stem}-{hashlib.sha256(text + ' '.join(flags).encode()).hexdigest()[:24]}.so"
    if not made.exists():
        _compile(source, flags, made)
    return made


def _openmp_is_gnu() -> bool:
    """Whether the OpenMP that is loaded is the one that a compiler here links with."""
    names = {line.rpartition("/")[2] for line in Path("/proc/self/maps").read_text().splitlines()}
    return any(name.startswith("libgomp.so.1") for name in names) and not any(
        name.startswith(("libiomp", "libomp")) for name in names
    )


def _folder() -> Path:
    """Where compiled kernels are kept: a folder that nobody but this user can write to."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "supertile"
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except (OSError, RuntimeError):  # a home that is read-only, or none
        return _temporary()
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not os.access(folder, os.W_OK):
        return _temporary()
    return folder


@functools.cache
def _temporary() -> Path:
    """A folder for as long as the process runs."""
    import atexit

    folder = tempfile.mkdtemp(prefix="supertile-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compile(source: Path, flags: list[str], made: Path) -> None:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise _NotHere("there is no C compiler")
    handle, part = tempfile.mkstemp(suffix=".so", dir=made.parent)
    os.close(handle)
    try:
        done = subprocess.run(
            [compiler, *flags, "-o", part, str(source)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise _NotHere(f"{compiler} refused it ({done.stderr.strip().partition(chr(10))[0]})")
        os.replace(part, made)
    finally:
        Path(part).unlink(missing_ok=True)
