"""How much memory tensors take while something is computed, the kernels' included."""

from __future__ import annotations

from typing import Any

from torch.profiler import ProfilerActivity, profile


class LiveBytes:
    """Counts what PyTorch allocates for tensors on the CPU inside of it. `peak`: the most that was alive at once."""

    def __init__(self) -> None:
        self.peak = 0
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)

    def __enter__(self) -> LiveBytes:
        self._profile.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._profile.__exit__(*error)
        alive = 0
        for event in self._profile.profiler.kineto_results.events():  # in the order of time
            if event.name() == "[memory]":
                alive += event.nbytes()
                self.peak = max(self.peak, alive)
