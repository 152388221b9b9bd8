"""The system: its version, memory, the folders that are written to, and the cards that are plugged in."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from ..inference.memory import free_bytes
from ..kernels.cpu import build
from ..weights.listing_cache import cache_folder

SMI_TIMEOUT_S = 10
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_DISPLAY_CLASS = "0x03"
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class System:
    """The operating system, and the memory of this process's share of the machine.

    Attributes:
        name: with its version.
        python: version of Python.
        memory_bytes: all memory; None where the system does not tell.
        free_bytes: what can still be used.
        memory_limit_bytes: what the container may use; None without a limit.
    """

    name: str
    python: str
    memory_bytes: int | None
    free_bytes: int
    memory_limit_bytes: int | None


@dataclass(frozen=True)
class Folder:
    """A folder that is written to.

    Attributes:
        purpose: "cache" or "temporary".
        path: where it is.
        free_bytes: of its disk; None where the system does not tell.
        problem: why it cannot be used; "" if it can.
    """

    purpose: str
    path: str
    free_bytes: int | None
    problem: str


@dataclass(frozen=True)
class Card:
    """A graphics card, whether PyTorch knows of it or not.

    Attributes:
        vendor: NVIDIA, AMD or Intel.
        name: as its driver tells it; its number on the bus where there is no driver.
        driver: version of the driver; "" where it does not answer.
    """

    vendor: str
    name: str
    driver: str


def system() -> System:
    """Describe the system."""
    name = f"{platform.system()} {platform.release().partition('-')[0]}"  # what follows may name the machine
    with suppress(OSError, AttributeError):
        name = f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {name}"
    return System(name, platform.python_version(), _memory(), free_bytes(torch.device("cpu")), _memory_limit())


def _memory() -> int | None:
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _memory_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int(Path(path).read_text())
            return limit if limit < _UNLIMITED else None
    return None


def folders() -> list[Folder]:
    """Describe the cache, where compiled kernels and measurements are kept, and the folder of temporary files."""
    temporary = _folder("temporary", Path(tempfile.gettempdir()))
    try:
        path = cache_folder()
    except RuntimeError:
        return [Folder("cache", "", None, "there is no home folder"), temporary]
    cache = _folder("cache", path)
    if not cache.problem and os.name == "posix" and build.cache_folder() != path.resolve():
        cache = Folder("cache", cache.path, cache.free_bytes, "others may write to it or to a folder above it")
    return [cache, temporary]


def _folder(purpose: str, path: Path) -> Folder:
    problem, free = "", None
    try:
        path.mkdir(parents=True, mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
    except OSError as error:
        problem = f"it cannot be written ({error.strerror or error})"
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    with suppress(OSError):
        free = shutil.disk_usage(existing).free
    return Folder(purpose, str(path), free, problem)


def cards() -> list[Card]:
    """Return the graphics cards that NVIDIA's driver or, on Linux, the bus knows of."""
    by_driver = _nvidia_cards()
    on_bus = [card for card in _cards_on_bus() if not (card.vendor == "NVIDIA" and by_driver)]
    return by_driver + on_bus


def _nvidia_cards() -> list[Card]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = (line.rpartition(",") for line in done.stdout.splitlines())
    return [Card("NVIDIA", name.strip(), driver.strip()) for name, _, driver in pairs if name.strip()]


def _cards_on_bus() -> list[Card]:
    found = []
    for device in sorted(Path("/sys/bus/pci/devices").glob("*")):
        with suppress(OSError):
            kind, vendor, number = ((device / name).read_text().strip() for name in ("class", "vendor", "device"))
            if kind.startswith(_DISPLAY_CLASS) and vendor in _VENDORS:
                found.append(Card(_VENDORS[vendor], f"device {number}", ""))
    return found
