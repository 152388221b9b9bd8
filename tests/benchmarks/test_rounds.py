"""Contenders in processes of their own, measured for real on networks that are tiny."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from supertile.benchmarks import report
from supertile.benchmarks.contenders import PEAK, Setup, contenders_of
from supertile.benchmarks.flops import flops
from supertile.benchmarks.networks import config_of
from supertile.benchmarks.rounds import measure, rotated

SETUP = Setup("cpu", 1)


def test_all_contenders_compute_the_same_network(tiny):
    said = []
    measured = measure(tiny, SETUP, 2, said.append)
    assert report.failures(measured) == []
    assert any("round 2 of 2" in sentence for sentence in said)
    assert {m.workload for m in measured} == set(tiny.workloads)
    assert all(len(m.times) == 2 and min(m.times) > 0 for m in measured)
    rows = report.rows(measured)
    assert {row.backend for row in rows} == {"ours", "eager", "comfyui"}
    for row in rows:
        exact = row.precision == "fp32"
        assert row.difference <= (1e-5 if exact else 0.1), row.contender
        assert row.agreement >= (100 if exact else 30), row.contender
        assert row.flops == flops(config_of(tiny.network), row.height, row.width)
        assert row.work == 1
        assert row.precision == "auto" or row.share > 0
        assert row.memory is not None or sys.platform == "win32"
    assert [row.ratio for row in rows if row.contender == "ours"] == [1, 1]


def test_spandrels_hat_has_our_weights(tiny_hat):
    """Of a width that is no whole number of windows, so that both have to fill it."""
    rows = report.rows(measure(tiny_hat, SETUP, 1))
    theirs = [row for row in rows if row.backend in ("spandrel", "comfyui") and row.precision == "fp32"]
    assert [row.contender for row in theirs] == [
        "spandrel", "ComfyUI's tiles, spandrel's network", "spandrel, channels last"
    ]  # fmt: skip
    assert all(row.difference <= 1e-5 for row in theirs)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("raise RuntimeError('no network today')", "no network today"),
        ("import os; os._exit(3)", "its process ended (3)"),
    ],
    ids=["raises", "ends"],
)
def test_who_fails_is_left_out_and_the_others_are_measured(tiny, tmp_path, code, sentence):
    pytest.importorskip("timm")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "vapsr.py").write_text(code)
    measured = measure(tiny, Setup("cpu", 1, {"VapSR": tmp_path}), 1)
    left_out = report.failures(measured)
    assert left_out[0].startswith("tiny VapSR, official: ")
    assert all("official" in each or "Open" in each or "ONNX" in each for each in left_out)
    assert sentence in left_out[0]
    rows = report.rows(measured)
    assert "official" not in {row.contender for row in rows}
    assert {row.backend for row in rows if row.width == 40} == {"ours", "eager", "comfyui"}, (
        "the larger input came after"
    )


def test_every_round_begins_with_another():
    assert [rotated(["a", "b", "c"], i) for i in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


def test_each_precision_that_takes_part_has_a_peak(tiny):
    contenders = contenders_of(tiny, SETUP)
    computed = {c.precision for c in contenders if c.backend != PEAK} - {"auto"}
    assert {c.precision for c in contenders if c.backend == PEAK} == computed
    assert "fp32" in computed


def test_a_checkout_adds_the_authors(tiny):
    names = [c.name for c in contenders_of(tiny, Setup("cpu", 1, {"VapSR": Path("there")}))]
    assert "official" in names
    assert "official" not in [c.name for c in contenders_of(tiny, Setup("cpu", 1, {"HAT": Path("there")}))]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the peak is that of the whole process")
def test_peak_memory_sees_what_is_gone_again():
    """In a process of its own, as a contender is: one that has computed keeps memory, and then grows by nothing."""
    size = 300 * 2**20
    script = (
        "import torch\nfrom supertile.benchmarks.peak_memory import PeakMemory\n"
        f"memory = PeakMemory(torch.device('cpu'))\ntorch.ones({size}, dtype=torch.uint8)\nprint(memory.growth())"
    )
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 0.9 * size <= int(grown) <= 1.5 * size
