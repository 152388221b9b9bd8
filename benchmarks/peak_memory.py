"""Growth of memory at its peak: of the process, or of the tensors on a CUDA device."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Peak memory since its creation: on CUDA of PyTorch's tensors, elsewhere the resident memory of the process.

    Memory that was resident but free at its creation does not count, so create it before anything is computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):  # on Linux, reset the peak, which is that of loading the weights
                _RESET.write_text("5")
        self.before = self._held()

    def growth(self) -> int | None:
        """Return the growth in bytes; None on systems that do not report it."""
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
