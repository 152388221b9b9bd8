"""`supertile bench`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from supertile.benchmarks import cases
from supertile.cli import app
from supertile.cli.bench import _cases
from typer.testing import CliRunner


def run(*arguments: str):
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_case_is_measured_shown_and_written(tiny, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(cases.CASES, "tiny", tiny)
    options = "--rounds 2 --threads 1 --device cpu --json figures.json --plot plot.png"
    result = run("--case", "tiny", *options.split())
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("| tiny VapSR")]
    assert [line.split("|")[2].strip() for line in lines] == sorted(line.split("|")[2].strip() for line in lines)
    assert any("ours, plain eager" in line and "24" in line for line in lines)
    assert "compared with ComfyUI's tiles, our network" in result.stdout
    figures = json.loads(Path("figures.json").read_text())
    assert len(figures["rows"]) == len(lines)
    assert (figures["machine"]["threads"], figures["rounds"], figures["left_out"]) == (1, 2, [])
    assert figures["peaks"]["fp32"] > 0
    assert Image.open("plot.png").format == "PNG"


def test_frames_and_tiles_are_measured_too(tiny, monkeypatch):
    growing = replace(
        tiny, question="growth", workloads=tuple(cases.Workload(16, 16, frames) for frames in (1, 2, 3, 4))
    )
    monkeypatch.setitem(cases.CASES, "tiny", growing)
    monkeypatch.setitem(
        cases.CASES, "tiny-tiles", replace(tiny, question="tiles", workloads=(cases.Workload(150, 150),))
    )
    result = run("--case", "tiny", "--case", "tiny-tiles", "--quick", "--rounds", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "memory without images" in result.stdout
    assert [f"16x16{n}" in result.stdout for n in ("", ", 2", ", 3", ", 4")] == [True, True, True, False]
    (tiles,) = (line.split("|") for line in result.stdout.splitlines() if "ours, tile 128" in line)
    assert float(tiles[10]) > 1, "tiles that overlap are more work"


def test_wrong_usage_exits_2_and_says_what_is_known():
    Path("empty").mkdir()
    for option, words in [
        ("--case=upscale", "hat-s"),
        ("--size=large", "WIDTHxHEIGHT"),
        ("--size=0x64", "WIDTHxHEIGHT"),
        ("--hat=nowhere", "nowhere"),
        ("--json=nowhere/figures.json", "figures.json"),
        ("--plot=empty", "empty"),
        ("--rounds=0", "--rounds"),
        ("--case=hat --scaling", "exclude each other"),
        ("--case=hat --model=a.pth", "exclude each other"),
        ("--startup --plot=a.png", "cannot be used with --startup"),
    ]:
        result = run(*option.split())
        assert result.exit_code == 2, option
        assert words in result.stderr


@pytest.mark.parametrize("option", ["--hat", "--vapsr", "--hitsr"])
def test_a_folder_that_is_no_checkout_is_one_sentence(option):
    Path("empty").mkdir()
    result = run(option, "empty", "--device", "cpu")
    assert result.exit_code == 2
    (sentence,) = result.stderr.splitlines()
    assert "empty is not a checkout of the authors'" in sentence


def test_a_case_that_fails_does_not_take_the_others_with_it(tiny, monkeypatch):
    broken = replace(tiny, network=replace(tiny.network, config={"num_feat": -1}))
    monkeypatch.setitem(cases.CASES, "tiny", replace(tiny, question="growth", workloads=(cases.Workload(16, 16),)))
    monkeypatch.setitem(cases.CASES, "broken", broken)
    options = "--rounds 1 --threads 1 --device cpu --json figures.json"
    result = run("--case", "broken", "--case", "tiny", *options.split())
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("Skipped: tiny VapSR, ours: ")
    figures = json.loads(Path("figures.json").read_text())
    assert {row["case"] for row in figures["rows"]} == {"tiny"}
    assert len(figures["left_out"]) == 1
    assert run("--case", "broken", "--device", "cpu").exit_code == 1


def test_a_model_that_cannot_be_read_is_one_sentence():
    result = run("--model", "none.safetensors", "--device", "cpu")
    assert result.exit_code == 1
    assert "none.safetensors" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_what_is_measured():
    def names(*arguments, sizes=None, model=None, quick=False, scaling=False, device="cpu"):
        found = _cases(list(arguments), model, sizes, quick, scaling, device)
        return [(case.network.name, case.question, [str(shown) for shown in case.workloads]) for case in found]

    assert [what for _, what, _ in names()] == ["peers"] * 4 + ["tiles", "batches"]
    assert names("hat-l", "hat-l") == [("HAT-L x4", "peers", ["64x64"])]
    assert names("hat-l", device="cuda") == [("HAT-L x4", "peers", ["256x256", "512x512"])]
    assert names("hat-s", quick=True) == [("HAT-S x4", "peers", ["64x64"])]
    larger = [cases.Workload(128, 64), cases.Workload(16, 16)]
    assert names("batches", sizes=larger) == [("bundled x4", "batches", ["16x16, 8 images", "128x64, 8 images"])]
    (megapixels, frames) = names(scaling=True)
    assert (megapixels[2][0], megapixels[2][-1]) == ("400x250", "7680x4320")
    assert frames[2][-1] == "320x180, 64 images"
    assert names(model="supertile-2x", quick=True) == [
        ("supertile-2x x2", "peers", ["64x64"]),
        ("supertile-2x x2", "tiles", ["256x256"]),
        ("supertile-2x x2", "batches", ["32x32, 8 images"]),
    ]
