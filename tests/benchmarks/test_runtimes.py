"""Other ways to compute on a CPU: layouts, bf16, OpenVINO, ONNX Runtime; graphs that fail or take too long."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from supertile.benchmarks import report, rounds, runtimes
from supertile.benchmarks.cases import CASES, Case, Network, Workload
from supertile.benchmarks.contenders import Setup, contenders_of, export
from supertile.benchmarks.rounds import measure

SETUP = Setup("cpu", 1)
COMPACT = Network("tiny Compact", "Compact", {"num_feat": 8, "num_conv": 2, "upscale": 2})


@pytest.fixture
def compact() -> Case:
    return Case("compact", "peers", COMPACT, (Workload(20, 16), Workload(24, 32)))


def names(case: Case, setup: Setup = SETUP) -> list[str]:
    return [contender.name for contender in contenders_of(case, setup)]


def test_networks_of_the_community_have_their_other_layouts(compact):
    found = names(compact)
    assert found[0] == "ours"
    assert {"ours, auto for 8 bits", "spandrel", "spandrel, channels last"} <= set(found)
    assert ("OpenVINO" in found) == runtimes.installed("openvino")
    assert ("ONNX Runtime" in found) == runtimes.installed("onnxruntime")


def test_runtimes_need_an_implementation_of_others(tiny, tmp_path):
    """VapSR has none without a checkout, and ours has kernels that no exporter sees."""
    assert not {"OpenVINO", "ONNX Runtime"} & set(names(tiny))
    with_checkout = replace(SETUP, checkouts={"VapSR": tmp_path})
    assert "official, channels last" in names(tiny, with_checkout)
    assert ("OpenVINO" in names(tiny, with_checkout)) == runtimes.installed("openvino")


@pytest.mark.parametrize("name", ["compact", "esrgan", "span", "realplksr"])
def test_the_cases_of_the_community_can_be_built(name):
    from supertile.benchmarks.networks import ours

    case = CASES[name]
    result = ours(case.network)(torch.rand(1, 3, 16, 16))
    assert result.shape == (1, 3, 16 * int(case.network.name[-1]), 16 * int(case.network.name[-1]))


def test_all_ways_compute_the_same(compact):
    measured = measure(compact, SETUP, 1)
    assert report.failures(measured) == []
    rows = [row for row in report.rows(measured) if row.width == 24]
    assert {row.backend for row in rows} >= {"ours", "spandrel"}
    for row in rows:
        exact = row.precision == "fp32"
        assert row.difference <= (1e-5 if exact else 0.05), row.contender
        assert row.agreement >= (90 if exact else 30), row.contender


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_runtime_computes_the_exported_graph(compact, tmp_path, runtime):
    if not runtimes.installed(runtime):
        pytest.skip(f"{runtime} is not installed")
    from supertile.benchmarks.networks import spandrels

    setup = replace(SETUP, graphs=tmp_path)
    assert export(compact, compact.workloads[0], setup) == ""
    model = runtimes.OpenVINO(tmp_path, 1, "fp32") if runtime == "openvino" else runtimes.OnnxRuntime(tmp_path, 1)
    images = torch.rand(1, 3, 16, 20)
    assert (model(images) - spandrels(COMPACT).model(images)).abs().max() < 1e-5


def test_an_export_that_fails_has_a_reason(tmp_path):
    assert runtimes.export(int, ("many",), (1, 3, 8, 8), tmp_path) == (
        "it cannot be exported to ONNX: ValueError: invalid literal for int() with base 10: 'many'"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "LIMIT_S", 2.0)
    started = time.monotonic()
    reason = runtimes.export(time.sleep, (600,), (1, 3, 8, 8), tmp_path)
    assert reason == "it cannot be exported to ONNX: it took longer than 2 s"
    assert time.monotonic() - started < 60


def test_who_cannot_be_exported_is_left_out_with_one_line_each(compact, monkeypatch):
    if not runtimes.installed("onnxruntime"):
        pytest.skip("onnxruntime is not installed")
    monkeypatch.setattr(rounds, "export", lambda case, workload, setup: "it cannot be exported to ONNX: a reason")
    measured = measure(replace(compact, workloads=compact.workloads[:1]), SETUP, 1)
    failures = report.failures(measured)
    assert "tiny Compact, ONNX Runtime: it cannot be exported to ONNX: a reason" in failures
    assert all("a reason" in failure for failure in failures)
    assert "spandrel, channels last" in {row.contender for row in report.rows(measured)}


def test_agreement_is_of_the_range_of_the_result(compact):
    """Random weights may return images that span little; a difference of a hundredth of that is 40 dB."""
    first, other = contenders_of(compact, SETUP)[:2]
    expected = torch.tensor([[[0.4, 0.5]]])
    results = {each: rounds.Measured(compact, each, compact.workloads[0]) for each in (first, other)}
    rounds._compare(results, {first: expected, other: expected + 0.001}, first)
    assert results[other].agreement == pytest.approx(40, abs=0.01)
    assert results[first].agreement == float("inf")
