"""Time to the first result: that it is measured, not how long it is."""

from __future__ import annotations

import pytest
from supertile.benchmarks.errors import BenchError
from supertile.benchmarks.startup import measure_startup


def test_every_step_is_measured_in_a_fresh_process():
    found = measure_startup("cpu", 1, rounds=1, model="supertile-2x")
    assert list(found["steps"])[:2] == ["import torch", "import supertile, beyond torch"]
    assert all(seconds > 0 for seconds in found["steps"].values())
    assert found["to_first_result"] == pytest.approx(sum(found["steps"].values()) - found["steps"]["second tile"])
    assert found["cuda_at_import"] is False


def test_a_model_that_is_none_is_said():
    with pytest.raises(BenchError, match=r"new process failed.*none\.safetensors"):
        measure_startup("cpu", 1, rounds=1, model="none.safetensors")
