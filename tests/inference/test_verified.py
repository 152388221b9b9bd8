"""The file that remembers what works on a card, and how an Upscaler uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from supertile.inference import Upscaler
from supertile.inference.accelerator import verified
from supertile.inference.accelerator.passes import Passes
from supertile.weights.loader import load_model

CARD = "a card 9.0, driver 560.35, torch 2.14.1, supertile 0.1.0"
OTHER = CARD.replace("560.35", "570.10")
COMPILED = verified.compiled("VapSR")


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "supertile" / verified.FILE_NAME


def test_what_works_is_known_to_the_next_process(file):
    verified.remember(CARD, {verified.GRAPHS: True, COMPILED: False})
    code = (
        "from supertile.inference.accelerator import verified\n"
        f"print(*(verified.works(what, {CARD!r}) for what in ('graphs', 'compiled VapSR', 'compiled HiT-SR')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False", "False"]


def test_another_driver_is_another_card():
    verified.remember(CARD, {verified.GRAPHS: True})
    assert verified.works(verified.GRAPHS, CARD)
    assert not verified.works(verified.GRAPHS, OTHER)
    assert not verified.works(verified.GRAPHS, None)
    verified.remember(OTHER, {verified.GRAPHS: False})
    assert verified.works(verified.GRAPHS, CARD)


def test_a_later_result_replaces_all_of_an_earlier_one():
    verified.remember(CARD, {verified.GRAPHS: True, COMPILED: True})
    verified.remember(CARD, {verified.GRAPHS: False})
    assert not verified.works(verified.GRAPHS, CARD)
    assert not verified.works(COMPILED, CARD)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        json.dumps({CARD: 3}),
        json.dumps({CARD: {"graphs": "yes"}}),
        json.dumps({CARD: {"graphs": 1}}),
        "[" * 9999,
    ],
)
def test_a_damaged_file_is_one_that_knows_nothing(file, content):
    file.parent.mkdir()
    file.write_text(content)
    assert not verified.works(verified.GRAPHS, CARD)
    verified.remember(CARD, {verified.GRAPHS: True})
    assert verified.works(verified.GRAPHS, CARD)
    assert os.listdir(file.parent) == [file.name]


def test_the_file_does_not_grow_without_end(file):
    for number in range(60):
        verified.remember(f"card {number}", {verified.GRAPHS: True})
    known = json.loads(file.read_text())
    assert len(known) == 50
    assert "card 59" in known


def test_a_folder_that_cannot_be_written_is_an_error(file):
    file.parent.parent.joinpath("supertile").write_text("no folder")
    with pytest.raises(OSError, match="supertile"):
        verified.remember(CARD, {verified.GRAPHS: True})


def test_a_cpu_has_no_setup():
    assert verified.setup_of(torch.device("cpu")) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_card_there_is_no_driver():
    assert verified.setup_of(torch.device("cuda")) is None


# --- what it decides -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "graphs", "compiles"),
    [
        ({}, False, False),
        ({verified.GRAPHS: True}, True, False),
        ({COMPILED: True}, False, True),
        ({verified.GRAPHS: True, COMPILED: True}, True, True),
        ({verified.compiled("HiT-SR"): True}, False, False),
    ],
)
def test_only_what_works_is_used(monkeypatch, found, graphs, compiles):
    monkeypatch.setattr(verified, "setup_of", lambda device: CARD)
    verified.remember(CARD, found)
    passes = Passes(load_model("supertile-2x"), "verified", torch.device("cuda"))
    assert passes.active == (graphs or compiles)
    with torch.inference_mode():
        assert passes.recorder.wants(torch.Size((1, 3, 8, 8)), 100) == graphs
    started = [passes.compiler.wants(torch.Size((1, 3, 8, 8)), 10**12) for _ in range(100)]
    assert any(started) == compiles


def test_an_upscaler_takes_the_word_and_computes_on_a_cpu_as_always():
    image = torch.rand(1, 3, 20, 24)
    results = [Upscaler("supertile-2x", device="cpu", compile=choice)(image) for choice in ("verified", "off")]
    assert torch.equal(*results)
