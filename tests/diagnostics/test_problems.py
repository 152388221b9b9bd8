"""From what was found to what to do: each rule, on a report of this machine that is changed in one thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from supertile.diagnostics.cuda import CudaCheck
from supertile.diagnostics.kernels import Comparison, Kernel
from supertile.diagnostics.networks import MeasuredNetwork, Way
from supertile.diagnostics.problems import problems
from supertile.diagnostics.processor import Processor
from supertile.diagnostics.report import Report
from supertile.diagnostics.software import Device, software
from supertile.diagnostics.system import Card, Folder, System
from supertile.video.capabilities import decoders, encoders

CARD = Card("NVIDIA", "GeForce RTX 4090", "560.35")


@pytest.fixture(scope="module")
def fine() -> Report:
    torch = replace(software().torch, threads=8, onednn=True, cuda="13.0")
    return Report(
        "1.0",
        replace(software(), torch=torch, broken={}),
        "cpu",
        System("Linux", "3.12", 32 * 10**9, 20 * 10**9, None),
        Processor("a processor", "x86_64", ["avx2"], 8, 8, 0.1),
        [Folder("cache", "~/.cache/supertile", 10**11, ""), Folder("temporary", "/tmp", 10**11, "")],
        encoders=dict.fromkeys(encoders(), ""),
        decoders=dict.fromkeys(decoders(), ""),
        kernels=[Kernel("mlp", "verified", "", 0.1, [Comparison("HAT-S", "fp32", 1e-7, 2e-5)])],
        networks=[MeasuredNetwork("VapSR x4", "VapSR", False, "cpu", 160, 90, {"fp32": Way(0.1, 140.0)}, 0.2, "fp32")],
    )


def found(report: Report) -> dict[str, bool]:
    return {each.id: each.is_broken for each in problems(report)}


def test_nothing_is_said_of_a_machine_that_is_fine(fine):
    assert found(fine) == {}


def test_this_machine_can_write_and_read_the_usual_videos():
    assert {name for name, reason in decoders().items() if reason} == set()
    assert {name for name, reason in encoders().items() if reason} <= {"h264_nvenc", "hevc_nvenc", "av1_nvenc"}


@pytest.mark.parametrize(
    ("built_for", "card", "expected"),
    [
        (None, CARD, "torch-without-cuda"),
        ("13.0", replace(CARD, driver=""), "no-driver"),
        ("13.0", CARD, "driver-too-old"),
    ],
)
def test_a_card_that_pytorch_does_not_use(fine, built_for, card, expected):
    its = replace(fine.software, torch=replace(fine.software.torch, cuda=built_for))
    assert found(replace(fine, software=its, cards=[card])) == {expected: True}
    assert found(replace(fine, software=its, cards=[card], devices=[Device("cuda:0", card.name)])) == {}
    assert found(replace(fine, software=its, cards=[Card("Intel", "device 0x46a6", "")])) == {}


@pytest.mark.parametrize("name", ["torchvision", "spandrel"])
def test_packages_that_do_not_fit(fine, name):
    its = replace(fine.software, broken={name: "it was built for torch 2.5.0, and torch is 2.14.1"})
    assert found(replace(fine, software=its)) == {f"package-{name}": True}


def test_kernels(fine):
    wrong = Kernel("vab", "wrong", "", 0.1, [Comparison("VapSR", "fp32", None, 2e-5), Comparison("b", "fp32", 0, 2e-5)])
    assert found(replace(fine, kernels=[wrong])) == {"kernel-vab": True}
    [problem] = problems(replace(fine, kernels=[wrong]))
    assert "no numbers in VapSR, fp32" in problem.text
    assert found(replace(fine, kernels=[Kernel("vab", "failed", "it was ended by SIGILL")])) == {"kernel-vab": True}
    absent = [Kernel(name, "absent", "cc failed (no header omp.h)") for name in ("mlp", "vab")]
    assert found(replace(fine, kernels=absent)) == {"no-kernels": False}  # said once
    for reason in ("kernels are for Linux", "there are no kernels for processors with DEFAULT instructions"):
        assert found(replace(fine, kernels=[Kernel("mlp", "absent", reason)])) == {}
    assert found(replace(fine, kernels=[Kernel("mlp", "not examined", "it took longer")])) == {"slow-kernels": False}


def test_networks(fine):
    [network] = fine.networks
    off = replace(network, ways={"fp32": Way(0.1, 41.0)})
    assert found(replace(fine, networks=[off])) == {"network-VapSR x4": True}
    assert found(replace(fine, networks=[replace(off, device="cuda:0", ways={"fp32": Way(0.1, 75.0)})])) == {}
    failed = replace(network, ways={}, failure="it was ended by SIGSEGV")
    assert found(replace(fine, networks=[failed])) == {"network-VapSR x4": True}
    slow = replace(network, ways={}, failure="it took longer than 60 s", is_too_slow=True)
    assert found(replace(fine, networks=[slow, slow])) == {"slow": False}


def test_checks_on_a_card(fine):
    checks = [CudaCheck(name, False, "a reason", 1.0) for name in ("copies", "graphs", "compiled VapSR")]
    expected = {"cuda-copies": True, "cuda-graphs": False, "cuda-compiled-VapSR": False}
    assert found(replace(fine, cuda=checks)) == expected


def test_the_machine(fine):
    cache, temporary = fine.folders
    denied = replace(cache, problem="it cannot be written (Permission denied)")
    assert found(replace(fine, folders=[denied, temporary])) == {"cache-folder": False}
    assert found(replace(fine, folders=[cache, replace(temporary, problem="full")])) == {"temporary-folder": True}
    assert found(replace(fine, folders=[cache, replace(temporary, free_bytes=10**8)])) == {"disk": False}
    assert found(replace(fine, system=replace(fine.system, free_bytes=10**9))) == {"memory": False}
    assert found(replace(fine, processor=replace(fine.processor, busy=6.0))) == {"busy": False}
    few = replace(fine.software, torch=replace(fine.software.torch, threads=1, onednn=False))
    assert found(replace(fine, software=few)) == {"threads": False, "onednn": False}


def test_video(fine):
    without = replace(fine, encoders={**fine.encoders, "libsvtav1": "Encoder not found", "h264_nvenc": "no card"})
    assert found(without) == {"encoder-libsvtav1": False}
    assert found(replace(without, devices=[Device("cuda:0", "a card")])) == {"encoder-libsvtav1": False, "nvenc": False}
    assert found(replace(fine, decoders={**fine.decoders, "hevc": "unknown"})) == {"decoder-hevc": False}


def test_what_is_broken_comes_first(fine):
    report = replace(fine, system=replace(fine.system, free_bytes=1), kernels=[Kernel("mlp", "failed", "a reason")])
    assert [each.is_broken for each in problems(report)] == [True, False]
