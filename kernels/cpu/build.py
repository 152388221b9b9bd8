"""Compile the C sources of `csrc/` when they are first needed, and load their functions.

A kernel is one plain C file without PyTorch's headers, which compiles in a few seconds. It is compiled for the
instructions that PyTorch itself uses on this processor and runs in the threads of PyTorch's own OpenMP. On another
system, without a compiler, with another OpenMP or with SUPERTILE_KERNELS=off in the environment there are no kernels:
PyTorch computes everything.

The library is kept for the next time, under a name that depends on the sources and the flags, and ends with a digest of
its own content. It is loaded only if the digest is right and nobody else could have written it; else it is compiled
again.
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
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

CSRC = Path(__file__).parents[1] / "csrc"
COMPILE_TIMEOUT_S = 60
_UNFINISHED = "unfinished-"

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
_reasons: dict[str, str] = {}
_allowed: Collection[str] | None = None


def load(name: str, signatures: Signatures) -> ctypes.CDLL | None:
    """Return the library compiled from `csrc/NAME.c`, or None where there are no kernels; the log says why.

    Args:
        name: The source's name, without its suffix.
        signatures: The functions that will be called.
    """
    if _allowed is not None and name not in _allowed:
        return None
    if name not in _loaded:
        _loaded[name] = _load(name, signatures)
    return _loaded[name]


def why_not(name: str) -> str:
    """Return why `load` returned None for a kernel; "" if it did not."""
    return _reasons.get(name, "")


@contextmanager
def restricted_to(names: Collection[str]) -> Iterator[None]:
    """Let this process use no other kernels than these, to compare each with PyTorch. Not while other threads compute.

    Args:
        names: of C sources, without their suffix; none for PyTorch alone, on CUDA too.
    """
    global _allowed
    before, _allowed = _allowed, names
    try:
        yield
    finally:
        _allowed = before


def _load(name: str, signatures: Signatures) -> ctypes.CDLL | None:
    if switched_off():
        _reasons[name] = "SUPERTILE_KERNELS=off is set"
        return None
    source = CSRC / f"{name}.c"
    try:
        flags = [*FLAGS, *_instruction_flags()]
        try:
            return _opened(_built(source, flags, cache_folder()), signatures)
        except _NotLoadableError as reason:  # a folder whose files must not be executed, for example
            log.info("The kernel %s is compiled for this process alone: %s.", name, reason)
            return _opened(_built(source, flags, _temporary_folder()), signatures)
    except (_Unavailable, _NotLoadableError, OSError, subprocess.SubprocessError) as reason:
        log.info("The kernel %s is not used: %s.", name, reason)
        _reasons[name] = str(reason)
        return None


class _NotLoadableError(Exception):
    """Why a compiled library cannot be loaded."""


def _opened(path: Path, signatures: Signatures) -> ctypes.CDLL:
    """Load a library and declare its functions; delete one that does not have them."""
    try:
        library = ctypes.CDLL(str(path))
        for symbol, (result, arguments) in signatures.items():
            function = getattr(library, symbol)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        path.unlink(missing_ok=True)
        raise _NotLoadableError(error) from error
    return library


def switched_off() -> bool:
    """Return whether PyTorch is to compute alone: the environment asks for it, or `restricted_to`."""
    if _allowed is not None and not _allowed:
        return True
    return os.environ.get("SUPERTILE_KERNELS", "").lower() in ("off", "0", "no")


class _Unavailable(Exception):
    """Why this machine has no kernels."""


def _built(source: Path, flags: Sequence[str], folder: Path) -> Path:
    """Return the shared library of a source, from the folder or compiled now."""
    text = b"".join(path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h"))))
    key = hashlib.sha256(text + " ".join(flags).encode()).hexdigest()[:24]
    prefix = f"{source.stem}-{key}-"
    for library in sorted(folder.glob(f"{prefix}*.so")):
        if library.name == f"{prefix}{_digest(library)}.so":
            return library
        log.info("%s is damaged or not this user's, so it is compiled again.", library)
        with suppress(OSError):
            library.unlink()
    return _compile(source, flags, folder, prefix)


def _digest(library: Path) -> str:
    """Return a digest of a file's content; an empty text for one that somebody else could have written."""
    try:
        status = library.lstat()
        if not stat.S_ISREG(status.st_mode) or not _is_ours(status) or _others_write(status):
            return ""
        return hashlib.sha256(library.read_bytes()).hexdigest()[:24]
    except OSError:
        return ""


def _instruction_flags() -> list[str]:
    """Return the flags for this processor; raise _Unavailable where kernels would not run or not run well."""
    if not sys.platform.startswith("linux"):
        raise _Unavailable("kernels are for Linux")
    level = torch.backends.cpu.get_cpu_capability()
    if level not in _INSTRUCTIONS:
        raise _Unavailable(f"there are no kernels for processors with {level} instructions")
    if not openmp_is_gnu():
        raise _Unavailable("PyTorch runs on another OpenMP than GNU's, and two of them would compete for the cores")
    flags = list(_INSTRUCTIONS[level])
    if level == "AVX512" and "avx512_bf16" in Path("/proc/cpuinfo").read_text(errors="replace"):
        flags.append("-mavx512bf16")
    return flags


def openmp_is_gnu() -> bool:
    """Return whether the OpenMP that PyTorch has loaded is the one that a compiler here links with."""
    names = {line.rpartition("/")[2] for line in Path("/proc/self/maps").read_text(errors="replace").split("\n")}
    return any(name.startswith("libgomp.so.1") for name in names) and not any(
        name.startswith(("libiomp", "libomp")) for name in names
    )


def cache_folder() -> Path:
    """Return a folder for compiled kernels that only this user can write to."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "supertile"
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        folder = folder.resolve()
        status = folder.stat()
        safe = status.st_uid == os.getuid() and not _others_write(status) and os.access(folder, os.W_OK)
        if safe and all(_may_contain_ours(above.stat()) for above in folder.parents):
            return folder
    except (OSError, RuntimeError):  # the home folder is read-only or missing
        pass
    return _temporary_folder()


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid in (os.getuid(), 0)


def _others_write(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _may_contain_ours(status: os.stat_result) -> bool:
    """Return whether nobody but this user and root can replace this user's folders inside a folder."""
    if not _is_ours(status):
        return False
    sticky = bool(status.st_mode & stat.S_ISVTX)  # as of /tmp: only owners may rename
    by_group = status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)
    return sticky or not (status.st_mode & stat.S_IWOTH or by_group)


def _is_private_group(group: int) -> bool:
    """Return whether a group is the user's own, as many systems make one for each user."""
    import grp
    import pwd

    try:
        user, entry = pwd.getpwuid(os.getuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name == user.pw_name and not set(entry.gr_mem) - {user.pw_name}


@functools.cache
def _temporary_folder() -> Path:
    """Return a folder that is deleted when the process ends."""
    import atexit

    folder = tempfile.mkdtemp(prefix="supertile-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def find_compiler() -> str | None:
    """Return the path of the C compiler, None if there is none."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _compile(source: Path, flags: Sequence[str], folder: Path, prefix: str) -> Path:
    """Compile into a temporary file and rename it, so that no other process loads half a library."""
    compiler = find_compiler()
    if compiler is None:
        raise _Unavailable("there is no C compiler")
    _remove_unfinished(folder)
    handle, name = tempfile.mkstemp(prefix=_UNFINISHED, suffix=".so", dir=folder)
    os.close(handle)
    unfinished = Path(name)
    try:
        done = subprocess.run(
            [compiler, *flags, "-o", name, str(source)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=COMPILE_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip().partition("\n")[0]
            raise _Unavailable(f"{compiler} failed ({message})")
        content = unfinished.read_bytes()
        if not content.startswith(b"\x7fELF"):
            raise _Unavailable(f"{compiler} has written no library")
        unfinished.chmod(0o700)
        _sync(unfinished)
        library = folder / f"{prefix}{hashlib.sha256(content).hexdigest()[:24]}.so"
        os.replace(unfinished, library)
        _sync(folder)
        return library
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_unfinished(folder: Path) -> None:
    """Delete what compilers have left that were killed."""
    for path in folder.glob(f"{_UNFINISHED}*.so"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 2 * COMPILE_TIMEOUT_S:
                path.unlink()


def _sync(path: Path) -> None:
    """Bring a file or the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
