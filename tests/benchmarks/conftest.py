"""Networks and times that are small enough to be measured in a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from supertile.benchmarks.cases import Case, Network, Workload
from supertile.benchmarks.contenders import PEAK, Contender
from supertile.benchmarks.rounds import Measured

VAPSR = Network("tiny VapSR", "VapSR", {"scale": 2, "num_feat": 8, "num_blocks": 1, "attention_dim": 8})
HAT = Network(
    "tiny HAT",
    "HAT",
    {
        "scale": 2, "embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 4, "overlap_window": 6,
        "compress_dim": 4, "squeeze_dim": 2, "mlp_dim": 24, "oca_mlp_dim": 24, "num_feat": 8,
    },
)  # fmt: skip


@pytest.fixture
def tiny() -> Case:
    return Case("tiny", "peers", VAPSR, (Workload(20, 16), Workload(40, 24)))


@pytest.fixture
def tiny_hat() -> Case:
    return Case("tiny", "peers", HAT, (Workload(18, 16),))


@pytest.fixture
def timed(tiny) -> Callable[..., list[Measured]]:
    """Figures as if they had been measured on the first input: name -> times; in bf16 where the name says so."""

    def make(convolution: float, **times: list[float]) -> list[Measured]:
        found = []
        for name, seconds in times.items():
            backend = "ours" if name.startswith("ours") else name
            precision = "bf16" if name.endswith("bf16") else "fp32"
            shown = tiny.workloads[0]
            tiles = [(shown.height, shown.width)]
            found.append(Measured(tiny, Contender(name, backend, precision), shown, seconds, memory=1000, tiles=tiles))
        peak = Contender("3x3 convolution, fp32", PEAK, "fp32")
        return [*found, Measured(tiny, peak, tiny.workloads[0], [1.0, 2.0, 4.0], flops=convolution)]

    return make
