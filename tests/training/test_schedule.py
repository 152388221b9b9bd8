"""The rate rises, stays, and falls when the cooldown begins; how long a training is does not matter before."""

from __future__ import annotations

import pytest
from supertile.training.schedule import learning_rate


def test_the_rate_rises_and_falls_along_a_cosine():
    rates = [learning_rate(step, steps=100, peak=1.0, warmup=10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[55] == pytest.approx(0.505)
    assert rates[100] == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_cooldown_leaves_the_peak_late():
    def rate(step: int, steps: int) -> float:
        return learning_rate(step, steps=steps, peak=1.0, warmup=10, cooldown=20)

    assert [rate(step, 100) for step in (10, 50, 80)] == [1, 1, 1]
    assert rate(90, 100) == pytest.approx(0.505)
    assert rate(100, 100) == pytest.approx(0.01)
    assert [rate(step, 100) for step in range(80)] == [rate(step, 1000) for step in range(80)]
    assert rate(10, 15) == 1, "a cooldown longer than the training is the whole training"
