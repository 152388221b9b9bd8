"""The learning rate over the steps: a short warm-up, then half a cosine down to almost nothing."""

from __future__ import annotations

import math


def learning_rate(step: int, *, steps: int, peak: float, warmup: int, floor: float = 0.01) -> float:
    """Of step `step` from 0; `floor` is where it ends, as a share of `peak`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
