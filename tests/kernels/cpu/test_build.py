"""Kernels are compiled once, kept where nobody else can write, and done without where they cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from supertile.kernels.cpu import attention as kernel
from supertile.kernels.cpu import build

needs_kernel = pytest.mark.skipif(not kernel.can_run(torch.zeros(1)), reason="no kernel can be compiled here")
NORM = """
import logging, torch
logging.basicConfig(level=logging.INFO)
from supertile.kernels.cpu import layer_norm as kernel
from supertile.kernels.ops import layer_norm
print(kernel.can_run(torch.zeros(1), dtype=torch.float32))
with torch.no_grad():
    print(layer_norm(torch.rand(1, 3, 9, 9), torch.nn.LayerNorm(9)).shape)
"""
NETWORK = """
import logging, torch
logging.basicConfig(level=logging.INFO)
from supertile.arch import HAT, HATConfig
from supertile.kernels.cpu import attention as kernel
print(kernel.can_run(torch.zeros(1)))
network = HAT(HATConfig(scale=1, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, overlap_window=6)).eval()
with torch.no_grad():
    print(network(torch.rand(1, 3, 9, 9)).shape)
"""


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )


@needs_kernel
def test_is_compiled_once_into_a_folder_of_the_user_alone(tmp_path: Path) -> None:
    assert run(NORM, XDG_CACHE_HOME=str(tmp_path)).stdout.startswith("True")
    folder = tmp_path / "supertile"
    assert folder.stat().st_mode & 0o077 == 0
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    [name] = times
    assert name.startswith("layer_norm-")
    assert name.endswith(".so")
    assert run(NORM, XDG_CACHE_HOME=str(tmp_path)).stdout.startswith("True")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times


@needs_kernel
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "supertile"
    folder.mkdir()
    folder.chmod(0o777)
    assert run(NORM, XDG_CACHE_HOME=str(tmp_path)).stdout.startswith("True")
    assert not list(folder.iterdir())


def test_networks_compute_without_a_compiler(tmp_path: Path) -> None:
    ran = run(NETWORK, XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path))
    assert ran.stdout.split("\n")[:2] == ["False", "torch.Size([1, 3, 9, 9])"]
    if sys.platform.startswith("linux"):
        assert "there is no C compiler" in ran.stderr


def test_a_compiler_that_fails_is_said_in_the_log(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho no such instruction >&2\nexit 1\n")
    broken.chmod(0o755)
    ran = run(NETWORK, XDG_CACHE_HOME=str(tmp_path), PATH=f"{tmp_path}:/usr/bin:/bin")
    assert ran.stdout.startswith("False")
    assert "no such instruction" in ran.stderr or "The kernel attention is not used" in ran.stderr
    assert not list((tmp_path / "supertile").iterdir())


def test_the_environment_can_switch_kernels_off() -> None:
    assert run(NETWORK, SUPERTILE_KERNELS="off").stdout.startswith("False")


def test_there_is_no_kernel_without_its_source() -> None:
    assert build.load("there is no such file", {}) is None


EQUAL = """
import torch
from supertile.arch import HAT, HATConfig, VapSR, VapSRConfig
from supertile.kernels.cpu import attention, build, vab
print(torch.backends.cpu.get_cpu_capability())
torch.manual_seed(0)
hat = HAT(HATConfig(scale=1, embed_dim=36, depths=(2,), num_heads=(3,), window_size=8, overlap_window=12)).eval()
vapsr = VapSR(VapSRConfig(scale=2, num_blocks=2)).eval()
image = torch.rand(1, 3, 19, 41)
with torch.no_grad():
    with_kernels = [network(image) for network in (hat, vapsr)]
    print(attention.can_run(image), vab.supports(64, 48, torch.float32))
    build.load = lambda name, signatures: None
    without = [network(image) for network in (hat, vapsr)]
print(max((a - b).abs().max().item() for a, b in zip(with_kernels, without)))
"""


@needs_kernel
def test_kernels_for_older_processors_compute_the_same(tmp_path: Path) -> None:
    """PyTorch can be told that a processor with AVX-512 has AVX2 only."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "XDG_CACHE_HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", EQUAL], env=environment, capture_output=True, text=True, check=True)
    level, there, off = ran.stdout.splitlines()
    assert (level, there) == ("AVX2", "True True")
    assert 0 < float(off) < 1e-5
