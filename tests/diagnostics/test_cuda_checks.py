"""The checks for a card where there is none: those that a CPU can run, and what becomes of the others.

On a GPU nothing of them has run yet.
"""

from __future__ import annotations

import pytest
from supertile.diagnostics import cuda
from supertile.diagnostics.cuda import CHECKS, CudaCheck, check, cuda_checks, remember
from supertile.inference.accelerator import verified


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "supertile" / verified.FILE_NAME


@pytest.fixture(autouse=True)
def gradients_as_before():
    import torch

    yield
    torch.set_grad_enabled(True)


@pytest.mark.parametrize("name", ["cpu", "copies"])
def test_results_and_streams_are_compared(name):
    [(passed, detail, _)] = check(name, "cpu")
    assert passed, detail
    assert "differ" in detail


def test_a_stream_that_mixes_up_its_images_is_seen(monkeypatch):
    stream = cuda.Upscaler.stream

    def turned(self, images, **options):
        return stream(self, [each.flip(1) for each in images] if len(images) > 1 else images, **options)

    monkeypatch.setattr(cuda.Upscaler, "stream", turned)
    [(passed, _, _)] = check("copies", "cpu")
    assert not passed


@pytest.mark.parametrize(
    ("name", "reason"), [(verified.GRAPHS, "there are no graphs on this device"), ("triton", "no kernel was tried")]
)
def test_what_a_cpu_does_not_have_does_not_pass(name, reason):
    [(passed, detail, _)] = check(name, "cpu")
    assert not passed
    assert reason in detail


def test_checks_without_time_do_not_pass():
    outcomes = list(cuda_checks("cpu", limit_s=0))
    assert [each.name for each in outcomes] == list(CHECKS)
    assert {(each.passed, each.detail) for each in outcomes} == {(False, "no time was left for it")}


def outcomes(**passed: bool) -> list[CudaCheck]:
    names = {name: name.replace(" ", "_").replace("-", "_") for name in CHECKS}
    return [CudaCheck(name, passed.get(short, True), "", 1.0) for name, short in names.items()]


def test_nothing_is_remembered_for_a_cpu(cache):
    assert remember("cpu", outcomes()) == ""
    assert not cache.exists()


def test_what_passes_is_remembered_for_the_card(monkeypatch):
    monkeypatch.setattr(verified, "setup_of", lambda device: f"a card at {device}")
    setup = remember("cuda:0", outcomes(compiled_HiT_SR=False, triton=False))
    assert setup == "a card at cuda:0"
    assert verified.works(verified.GRAPHS, setup)
    assert verified.works(verified.compiled("VapSR"), setup)
    assert not verified.works(verified.compiled("HiT-SR"), setup)
    assert not verified.works(verified.GRAPHS, "a card at cuda:1")


@pytest.mark.parametrize("name", ["cpu", "copies"])
def test_a_card_that_computes_something_else_gets_nothing(monkeypatch, name):
    monkeypatch.setattr(verified, "setup_of", lambda device: "a card")
    remember("cuda:0", outcomes(**{name: False}))
    assert not verified.works(verified.GRAPHS, "a card")
    assert not verified.works(verified.compiled("VapSR"), "a card")
