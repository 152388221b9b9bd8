"""The kernels for CUDA where there is no GPU: run by Triton's interpreter, and compiled for two generations of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton", reason="Triton comes with PyTorch for CUDA on Linux alone")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

SHARED_MEMORY = 99 * 1024  # what a program may have on sm_86 and sm_89, which run what is compiled for sm_80
SPILLED = 64  # bytes a thread


def run_kernels(**environment: str) -> None:
    file = Path(__file__).with_name("run_kernels.py")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", str(file), "-p", "no:cacheprovider"],
        env={**os.environ, **environment}, cwd=Path(__file__).parents[3], capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\b\d+ passed", ran.stdout)


def test_kernels_compute_what_pytorch_does_in_the_interpreter():
    """It has to be asked for before Triton is imported, hence the process."""
    run_kernels(TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_kernels_compute_what_pytorch_does_on_a_gpu():
    run_kernels()


class Compiled(NamedTuple):
    kernel: str
    shared: int  # bytes of a program
    registers: int | None
    spilled: int | None  # bytes of a thread; None where there is no tool to read it with
    ptx: str


class Recorder:
    """Stands where a kernel stands, and compiles it for what it is started with instead."""

    def __init__(self, kernel: Any, architecture: int, results: list[Compiled]) -> None:
        self.kernel, self.architecture, self.results = kernel, architecture, results

    def __getitem__(self, grid: tuple[int, ...]) -> Callable:
        assert all(0 < size < limit for size, limit in zip(grid, (2**31, 2**16, 2**16), strict=False))
        return self.compile

    def compile(self, *arguments: Any, **options: Any) -> None:
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        names = self.kernel.arg_names
        given = dict(zip(names, arguments, strict=False)) | {n: options[n] for n in names if n in options}
        signature, constants, attributes = {}, {}, {}
        for place, (name, value) in enumerate((name, given[name]) for name in names):
            signature[name] = kind = self._type(name, value)
            if kind == "constexpr":
                constants[place,] = value
            elif kind.startswith("*") or (kind[0] == "i" and value % 16 == 0 and name not in self._any_size()):
                attributes[place,] = [["tt.divisibility", 16]]
        compiled = triton.compile(
            ASTSource(self.kernel, signature, constants, attributes),
            target=GPUTarget("cuda", self.architecture, 32),
            options={name: options[name] for name in ("num_warps", "num_stages") if name in options},
        )
        registers, spilled = resources(compiled.asm["cubin"])
        shared, ptx = compiled.metadata.shared, compiled.asm["ptx"]
        self.results.append(Compiled(self.kernel.__name__, shared, registers, spilled, ptx))

    def _type(self, name: str, value: Any) -> str:
        """As Triton's own launcher derives it from an argument."""
        types = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}
        if isinstance(value, Tensor):
            return types[value.dtype]
        if self.kernel.params[self.kernel.arg_names.index(name)].is_constexpr:
            return "constexpr"
        if isinstance(value, float):
            return "fp32"
        if value == 1 and name not in self._any_size():
            return "constexpr"
        return "i32" if -(2**31) <= value < 2**31 else "i64"

    def _any_size(self) -> set[str]:
        return {p.name for p in self.kernel.params if p.do_not_specialize}


def resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and bytes of stack of a thread, as the tool beside Triton's assembler reads them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        return None, None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        ran = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", ran.stdout)
    assert found, ran.stdout
    return int(found[1]), int(found[2])


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def compiled(request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Compiled]]:
    """What the kernels were compiled to, each held to what a GPU has."""
    from supertile.kernels.cuda import attention, correlation, depthwise, layer_norm

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    results: list[Compiled] = []
    for module, name in (
        (attention, "attend"), (depthwise, "convolve"), (layer_norm, "normalize_pixels"),
        (correlation, "sum_window"), (correlation, "correlate"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, Recorder(getattr(module, name), request.param, results))
    yield results
    assert results
    for each in results:
        assert each.shared <= SHARED_MEMORY, each
        assert each.spilled is None or each.spilled <= SPILLED, each


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Only its shape counts."""
    return torch.empty(shape, dtype=dtype, device="meta")


HALF, BRAIN, WHOLE = torch.float16, torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("dim", "around", "dtype", "precision"),
    [
        *[(32, 16, dtype, "tf32") for dtype in (HALF, BRAIN, WHOLE)],  # HAT: projections round its 30 up to 32
        *[(32, 24, dtype, "tf32") for dtype in (HALF, WHOLE)],
        *[(32, around, WHOLE, "tf32x3") for around in (16, 24)],
        (24, 16, HALF, "tf32"),  # HAT-S
        (30, 24, HALF, "tf32"),
        (64, 16, WHOLE, "tf32x3"),  # the largest there may be
    ],
)
def test_window_attention_fits_a_gpu(
    compiled: list[Compiled], dim: int, around: int, dtype: torch.dtype, precision: str
) -> None:
    from supertile.kernels.cuda import attention

    q, k, v = meta(1, 64, 64, 3 * 6 * dim, dtype=dtype).chunk(3, -1)
    attention.window_attention(
        q, k, v, heads=6, window=(16, 16), key_window=(around, around), scale=0.2, precision=precision,
        bias=meta(1, 6, 256, around**2, dtype=dtype), origin=(-8, -8) if around == 16 else (0, 0),
        key_origin=(-8, -8) if around == 16 else (-4, -4), zero_padding=around > 16,
    )  # fmt: skip
    (attend,) = compiled
    products = "wgmma.mma_async" if ".target sm_90" in attend.ptx else "mma.sync"
    assert products in attend.ptx  # the tensor cores' own, each generation's
    assert "cp.async" in attend.ptx  # keys and values come while others are multiplied


@pytest.mark.parametrize(
    ("channels", "dilation", "dtype"),
    [(64, 1, HALF), *[(64, 3, dtype) for dtype in (HALF, BRAIN, WHOLE)], (120, 1, HALF)],  # 120: HiT-SRF
)
def test_depthwise_convolutions_fit_a_gpu(
    compiled: list[Compiled], channels: int, dilation: int, dtype: torch.dtype
) -> None:
    from supertile.kernels.cuda import depthwise

    x, weight = meta(1, 180, 320, channels, dtype=dtype), meta(channels, 1, 5, 5, dtype=dtype)
    depthwise.depthwise(x, weight, meta(channels, dtype=dtype), dilation, x if dilation > 1 else None)


@pytest.mark.parametrize("dtype", [HALF, WHOLE])
@pytest.mark.parametrize("channels", [48, 180])
def test_layer_norms_fit_a_gpu(compiled: list[Compiled], dtype: torch.dtype, channels: int) -> None:
    from supertile.kernels.cuda import layer_norm

    x, parameter = meta(1, 64, 64, channels, dtype=dtype), meta(channels)
    layer_norm.layer_norm(x, parameter, parameter, 1e-5, add_before=meta(*x.shape))
    layer_norm.layer_norm(meta(*x.shape), parameter, parameter, 1e-5, dtype=dtype)
    layer_norm.layer_norm(x, parameter, parameter, 1e-5, add_after=meta(*x.shape))


@pytest.mark.parametrize(("window", "precision"), [(4, "tf32x3"), (8, "tf32x3"), (64, "tf32x3"), (64, "tf32")])
def test_correlations_fit_a_gpu(compiled: list[Compiled], window: int, precision: str) -> None:
    from supertile.kernels.cuda import correlation

    patch = max(window // 8, 1)
    patches = (window // patch) ** 2
    correlation.window_correlation(
        meta(1, 192, 192, 60), None, window=(window, window), patch=(patch, patch), heads=6, precision=precision,
        patch_weight=meta(1, patch**2), patch_bias=meta(1), proj=meta(60, 60),
        position_bias=meta(6, patches, window**2),
    )  # fmt: skip
