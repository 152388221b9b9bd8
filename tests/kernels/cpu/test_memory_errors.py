"""The tests of the kernels once more, compiled so that a read or write outside of a tensor or an array ends them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from supertile.kernels.cpu import bands, build

HERE = Path(__file__).parent
# Checks that are calls make the code slower and its compilation four times as fast, which is what takes the time here.
CHECKED = ["-fsanitize=address", "--param=asan-instrumentation-with-call-threshold=0", "-O1", "-g"]
SCRIPT = f"""
import sys
import pytest
from supertile.kernels.cpu import build
build.FLAGS += {CHECKED}
build.COMPILE_TIMEOUT_S = 600  # checked code takes longer to compile
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def library(name: str) -> str | None:
    """Where the compiler has it."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    return found if Path(found).is_absolute() else None


def under_the_sanitizer(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Both libraries come first: that of C++ because the sanitizer looks for its exceptions when it is loaded."""
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so.6')}",
        "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=HERE.parents[2], capture_output=True, text=True
    )


needs_sanitizer = pytest.mark.skipif(
    build.load("vab", bands.SIGNATURES) is None or not library("libasan.so") or not library("libstdc++.so.6"),
    reason="no kernel can be compiled here, or none with an address sanitizer",
)


@needs_sanitizer
@pytest.mark.parametrize(
    "name", ["attention", "convolution", "depthwise_gradient", "fourier", "hitsr", "layer_norm", "vab"]
)
def test_kernels_stay_inside_of_what_they_are_given(tmp_path: Path, name: str) -> None:
    """Without those of whole networks, which use the kernels on fewer shapes."""
    ran = under_the_sanitizer(tmp_path, "-c", SCRIPT, str(HERE / f"test_{name}.py"), "-k", "not network")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


@needs_sanitizer
@pytest.mark.parametrize("channels", [5, 32])
def test_the_sanitizer_sees_what_it_should(tmp_path: Path, channels: int) -> None:
    """A norm whose weight is a number short, in a whole vector of channels or in a part of one."""
    script = f"""
import torch
from supertile.kernels.cpu import build
build.FLAGS += {CHECKED}
from supertile.kernels.cpu.layer_norm import layer_norm
x, ones = torch.randn(2, {channels}), torch.ones({channels})
print(layer_norm(x, ones, ones, 1e-5).shape, flush=True)
layer_norm(x, torch.ones({channels - 1}), ones, 1e-5)
"""
    ran = under_the_sanitizer(tmp_path, "-c", script)
    assert ran.stdout == f"torch.Size([2, {channels}])\n"
    assert ran.returncode != 0
    assert "ERROR: AddressSanitizer" in ran.stderr
