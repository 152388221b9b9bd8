"""`supertile doctor` on this machine as it is, and on one whose compiler is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from supertile.diagnostics.cuda import CudaCheck, TritonKernel
from supertile.diagnostics.kernels import SIGNATURES
from supertile.weights.bundle import bundled_models

from .conftest import CRASHING_VAB, WRONG_MLP

KEYS = {
    "form", "ok", "supertile", "software", "device", "system", "processor", "folders", "cards", "devices", "encoders",
    "decoders", "kernels", "networks", "cuda", "verified_for", "problems", "seconds",
}  # fmt: skip
NETWORKS = {"HAT-S x4", "VapSR x4", "HiT-SRF x4", *bundled_models()}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supertile", "doctor", "--device", "cpu", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def text() -> str:
    result = run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout


def test_every_kernel_is_verified_or_said_to_be_absent(text):
    states = dict(re.findall(r"^Kernel (\w+): ([a-z ]+)", text, re.MULTILINE))
    assert states.keys() == SIGNATURES.keys()
    assert {state.partition(" in ")[0] for state in states.values()} <= {"verified", "absent", "not examined"}


def test_every_network_has_its_speed_its_agreement_and_its_precision(text):
    lines = [line for line in text.splitlines() if " on cpu: " in line]
    assert {re.split(r",| \(", line)[0] for line in lines} == NETWORKS
    measured = [line for line in lines if "not measured" not in line]
    assert measured
    for line in measured:
        assert float(re.search(r"([\d.e+]+) images/s in fp32", line)[1]) > 0
        assert float(re.search(r"to which it agrees to ([\d.]+) dB", line)[1]) > 100
        assert re.search(r"auto takes (fp32|bf16): ", line)


def test_the_machine_is_described(text):
    for beginning in (
        "PyTorch ",
        "System: ",
        "Processor: ",
        "Memory: ",
        "Encoders: ",
        "Cache folder: ",
        "Model folders: ",
    ):
        assert re.search(rf"^{beginning}\S", text, re.MULTILINE), beginning
    assert re.search(r"Examined in \d+ s\.$", text.strip())


def test_a_compiler_that_breaks_kernels_is_found_out(compiler_that_changes, tmp_path):
    """One that leaves out an operation, and one whose result ends the process; in a home that nobody should read of."""
    home = tmp_path / "secret_name"
    models = home / "ComfyUI" / "models" / "upscale_models"
    models.mkdir(parents=True)
    environment = compiler_that_changes(mlp=WRONG_MLP, vab=CRASHING_VAB)
    result = run("--json", **environment, HOME=str(home), SUPERTILE_MODELS=str(models))
    assert result.returncode == 1, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found.keys() == KEYS
    assert found["ok"] is False
    kernels = {each["name"]: each for each in found["kernels"]}
    assert {name: each["state"] for name, each in kernels.items()} == {
        **dict.fromkeys(SIGNATURES, "verified"), "mlp": "wrong", "vab": "failed"
    }, {name: each["reason"] for name, each in kernels.items()}  # fmt: skip
    assert max(each["difference"] for each in kernels["mlp"]["comparisons"]) > 0.01
    assert "SIG" in kernels["vab"]["reason"]
    broken = {each["id"]: each for each in found["problems"] if each["is_broken"]}
    assert {"kernel-mlp", "kernel-vab"} <= broken.keys()
    assert "SUPERTILE_KERNELS=off" in broken["kernel-mlp"]["advice"]
    assert {each["name"] for each in found["networks"]} == NETWORKS  # measured without kernels

    assert found["software"]["models"][0] == {"folder": str(Path("~/ComfyUI/models/upscale_models")), "files": 0}
    assert "secret_name" not in result.stdout
    assert str(tmp_path) not in result.stdout


def test_a_device_that_is_not_there_is_a_sentence():
    result = subprocess.run(
        [sys.executable, "-m", "supertile", "doctor", "--device", "nonsense"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "the device 'nonsense' cannot be used" in result.stderr


def test_what_is_found_on_a_card_is_told():
    from supertile.cli.doctor import LINES

    kernels = [
        TritonKernel("layer norm (48,)", "float32", 0.25, 0.125, ""),
        TritonKernel("correlation (60,)", "float16", None, None, "no device"),
    ]
    lines = LINES["cuda"](CudaCheck("triton", False, "correlation fails", 12.3, kernels))
    assert lines == [
        "triton: not used, correlation fails (12 s)",
        "  layer norm (48,), float32: 0.125 ms, PyTorch 0.25 ms",
        "  correlation (60,), float16: no device",
    ]
    assert LINES["verified_for"]("") == ["Nothing is remembered for this card"]
