"""Kernels are compared one by one, and why there are none is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from supertile.diagnostics import kernels as diagnostics
from supertile.kernels.cpu import attention, build

SCRIPT = """
import json
from dataclasses import asdict
from supertile.diagnostics.examine import Report
from supertile.diagnostics.kernels import kernels
from supertile.diagnostics.problems import problems
from supertile.diagnostics.software import software

if __name__ == "__main__":
    report = Report("0", software(), kernels=list(kernels()))
    print(json.dumps([asdict(report)["kernels"], [asdict(each) for each in problems(report)]]))
"""


def examined(tmp_path, **environment: str) -> tuple[list, list]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    kernels, problems = json.loads(result.stdout)
    return kernels, problems


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are for Linux")
def test_without_a_compiler_all_are_absent_and_one_is_advised(tmp_path, without_compiler):
    kernels, problems = examined(tmp_path, **without_compiler)
    assert {(each["state"], each["reason"]) for each in kernels} == {("absent", "there is no C compiler")}
    [problem] = [each for each in problems if each["id"] == "no-kernels"]
    assert not problem["is_broken"]
    assert "there is no C compiler" in problem["text"]
    assert "Install a C compiler" in problem["advice"]


def test_kernels_that_are_switched_off_are_no_riddle(tmp_path):
    _, problems = examined(tmp_path, SUPERTILE_KERNELS="off")
    assert "Unset SUPERTILE_KERNELS" in next(each for each in problems if each["id"] == "no-kernels")["advice"]


@pytest.mark.skipif(not attention.can_run(torch.zeros(1)), reason="no kernel can be compiled here")
def test_a_kernel_alone_is_compared_with_pytorch_alone():
    with build.restricted_to({"mlp"}):
        assert not attention.can_run(torch.zeros(1))
        assert not build.switched_off()
        with build.restricted_to(()):
            assert build.switched_off()
        assert not build.switched_off()
    assert attention.can_run(torch.zeros(1))


@pytest.mark.skipif(not attention.can_run(torch.zeros(1)), reason="no kernel can be compiled here")
@pytest.mark.parametrize("name", list(diagnostics.SIGNATURES))
def test_every_comparison_runs_the_kernel(name, monkeypatch):
    """Else it would compare PyTorch with itself: bits of an fp32 sum that is taken in another order differ."""
    torch.set_grad_enabled(False)
    try:
        cases = list(diagnostics.CASES[name](torch.float32))
        for operation, compute in cases:
            with build.restricted_to({name}):
                by_kernel = compute()
            with build.restricted_to(()):
                assert not torch.equal(by_kernel, compute()), operation
    finally:
        torch.set_grad_enabled(True)
