"""Remember what `supertile doctor` has found to work on a card, for `compile="verified"`.

Graphs and compiled networks depend on the card, its driver and PyTorch, none of which this package chooses. So what has
been tried counts for exactly these, in the user's cache folder; whatever else is there counts as untried.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from contextlib import suppress

import torch

from ...version import version
from ..cache_file import CacheFile

FILE_NAME = "verified.json"

GRAPHS = "graphs"
"""CUDA graphs of all families."""

_FILE = CacheFile(FILE_NAME, 50, lambda found: isinstance(found, dict))
_NVML = ("libnvidia-ml.so.1", "nvml.dll")
_DRIVER_CHARACTERS = 80


def compiled(family: str) -> str:
    """Return the name under which it is kept that a family's networks work compiled."""
    return f"compiled {family}"


def setup_of(device: torch.device) -> str | None:
    """Return the card, driver and versions that a result counts for; None where any of them is unknown."""
    if device.type != "cuda" or not torch.cuda.is_available() or torch.version.cuda is None:
        return None
    driver = nvidia_driver()
    if driver is None:
        return None
    properties = torch.cuda.get_device_properties(device)
    card = f"{properties.name} {properties.major}.{properties.minor}"
    return f"{card}, driver {driver}, torch {torch.__version__}, supertile {version()}"


@functools.cache
def nvidia_driver() -> str | None:
    """Return the version of NVIDIA's driver as its library tells it; None without one."""
    for name in _NVML:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            if library.nvmlInit_v2():
                continue
            text = ctypes.create_string_buffer(_DRIVER_CHARACTERS)
            failed = library.nvmlSystemGetDriverVersion(text, ctypes.c_uint(_DRIVER_CHARACTERS))
            library.nvmlShutdown()
            if not failed and text.value:
                return text.value.decode("ascii", "replace")
    return None


def works(what: str, setup: str | None) -> bool:
    """Return True if GRAPHS, or what `compiled` returns, has been found to work with this card and these versions.

    Args:
        what: the thing.
        setup: as `setup_of` returns it.
    """
    return setup is not None and _FILE.read().get(setup, {}).get(what) is True


def remember(setup: str, found: Mapping[str, bool]) -> None:
    """Keep what works (True) and what does not (False), in place of what was known for this card and these versions.

    Raises:
        OSError: the cache cannot be written.
        RuntimeError: there is no home folder.
    """
    _FILE.put(setup, dict(found))
