"""Ratios, rates and shares from times; JSON and plot."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import pytest
from PIL import Image
from supertile.benchmarks import plot, report
from supertile.benchmarks.errors import BenchError


def row_of(rows, contender):
    return next(row for row in rows if row.contender == contender)


def test_ratios_are_of_medians_and_their_range_of_rounds(timed):
    rows = report.rows(timed(8e9, ours=[1.0, 2.0, 4.0], spandrel=[3.0, 4.0, 40.0]))
    spandrel = row_of(rows, "spandrel")
    assert (spandrel.ratio, spandrel.ratio_low, spandrel.ratio_high) == (2, 2, 10)
    assert (spandrel.median, spandrel.fastest, spandrel.slowest) == (4, 3, 40)
    assert spandrel.spread == pytest.approx(40 / 3)
    assert spandrel.rounds == 3


def test_a_share_is_of_the_convolution_that_took_its_turns(timed):
    """Of 8 GFLOP in a median of 2 s; another precision has its own peak, or none."""
    measured = timed(8e9, ours=[1.0, 2.0, 4.0], ours_bf16=[1.0, 1.0, 1.0])
    ours, bf16 = report.rows(measured)
    assert report.peaks(measured) == {"fp32": 4e9}
    assert ours.flops_per_second == ours.flops / 2
    assert ours.share == ours.flops_per_second / 4e9
    assert bf16.share is None


def test_tiles_that_overlap_are_more_work_than_the_definition(timed):
    measured = timed(1e9, ours=[1.0])
    measured[0].tiles = [(16, 20), (16, 20)]
    (row,) = report.rows(measured)
    assert row.work == 2
    assert row.flops_per_second == row.flops, "work that is done twice is no speed"


def test_speedups_are_told_for_each_peer_and_precision(timed):
    rows = report.rows(timed(1e9, ours=[2.0], ours_bf16=[1.0], spandrel=[6.0], official=[8.0]))
    assert [(s.peer, s.times) for s in report.speedups(rows)] == [
        ("spandrel", {"fp32": 3, "bf16": 6}),
        ("official", {"fp32": 4, "bf16": 8}),
    ]
    assert "compared with spandrel: 3.00 times as fast in fp32, 6.00" in report.speedup_text(report.speedups(rows)[0])


def test_json_is_complete_or_not_there(timed, tmp_path):
    measured = timed(1e9, ours=[2.0], spandrel=[6.0])
    measured[0].agreement = float("inf")
    target = tmp_path / "figures.json"
    target.write_text("older")
    report.write_json(target, {"device": "a processor"}, {"rows": report.rows(measured)})
    found = json.loads(target.read_text(), parse_constant=pytest.fail)
    assert [row["contender"] for row in found["rows"]] == ["ours", "spandrel"]
    assert (found["rows"][0]["agreement"], found["rows"][1]["ratio"]) == (None, 3)
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json(target, {"device": float("nan")}, {})
    assert json.loads(target.read_text()) == found
    assert list(tmp_path.iterdir()) == [target]


def test_lines_of_the_plot(timed):
    rows = report.rows(timed(1e9, ours=[2.0], spandrel=[6.0]))
    assert plot.by_pixels(rows) == {"tiny VapSR: ours": [(320, 2.0)], "tiny VapSR: spandrel": [(320, 6.0)]}
    assert plot.by_batch(rows) == {}
    larger = [replace(rows[0], width=40, median=5.0), *rows]
    assert plot.by_pixels(larger) == {"tiny VapSR: ours": [(320, 2.0), (640, 5.0)]}, "one size alone is no line"
    measured = timed(1e9, ours=[2.0])
    object.__setattr__(measured[0].contender, "batch", 4)
    (row,) = report.rows(measured)
    assert plot.by_pixels([row]) == {}
    assert list(plot.by_batch([row]).values()) == [[(4, 2000.0)]]


def test_the_plot_is_an_image(timed, tmp_path):
    pytest.importorskip("matplotlib")
    target = tmp_path / "plot.png"
    plot.write_plot(target, report.rows(timed(1e9, ours=[2.0], spandrel=[6.0])), "a processor")
    with Image.open(target) as image:
        assert image.size == (1680, 960)
        assert len(image.convert("RGB").getcolors(1 << 24)) > 10, "something is drawn"
    assert list(tmp_path.iterdir()) == [target]


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"pip install 'supertile\[bench\]'"):
        plot.write_plot(tmp_path / "plot.png", [], "")
    assert list(tmp_path.iterdir()) == []
