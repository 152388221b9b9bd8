"""The machine and the libraries that figures were measured with."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib import metadata
from typing import Any

import torch

from ..diagnostics.processor import processor_name
from .contenders import Setup


def describe(setup: Setup) -> dict[str, Any]:
    """Describe machine and libraries, for tables and JSON. `load`: average load of the minute before measuring."""
    device = torch.device(setup.device)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "device_type": device.type,
        "threads": setup.threads,
        "cores": os.cpu_count(),
        "load": load,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "spandrel": _version("spandrel"),
        "supertile": _version("supertile"),
        "tf32": torch.backends.cudnn.allow_tf32 if device.type == "cuda" else None,
    }


def headline(machine: dict[str, Any], peaks: dict[str, float]) -> str:
    """Return machine and peaks (precision -> FLOP/s) as a line of text."""
    text = f"{machine['device']}, {machine['threads']} of {machine['cores']} cores, torch {machine['torch']}"
    rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in peaks.items())
    return f"{text}. Fastest 3x3 convolution, GFLOP/s: {rates}." if rates else f"{text}."


def _version(name: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None
