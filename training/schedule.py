"""The learning rate over the steps: a short warm-up, the peak, then half a cosine down to almost nothing."""

from __future__ import annotations

import math


def learning_rate(step: int, *, steps: int, peak: float, warmup: int, cooldown: int = 0, floor: float = 0.01) -> float:
    """Return the rate of a step.

    Args:
        step: from 0.
        steps: of the whole training.
        peak: the highest rate, which the first `warmup` steps rise to.
        warmup: steps.
        cooldown: how many steps the cosine takes, at the end; 0 for all after the warm-up.
        floor: where it ends, as a share of `peak`.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    falls_from = max(warmup, steps - cooldown) if cooldown else warmup
    progress = min(1.0, max(0, step - falls_from) / max(1, steps - falls_from))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
