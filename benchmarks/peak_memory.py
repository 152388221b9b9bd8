"""How much more memory a process, or the device, holds at its peak than before a pass."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Counts from its creation: on CUDA PyTorch's tensors on the device, elsewhere the resident memory of the process.

    What was resident and free then, and is used now, does not show: make it before anything has been computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):  # Linux: the peak so far, of loading the weights, is forgotten
                _RESET.write_text("5")
        self.before = self._held()

    def growth(self) -> int | None:
        """Bytes; None on systems that do not tell."""
        peak = self._peak()
        return None if peak is None or self.before is None else max(peak - self.before, 0)

    def _held(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return _of_status("VmRSS") or _largest_resident()

    def _peak(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _of_status("VmHWM") or _largest_resident()


def _of_status(name: str) -> int | None:
    with suppress(OSError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024
    return None


def _largest_resident() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
