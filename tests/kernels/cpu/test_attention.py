"""The compiled window attention against the formula in double precision, and networks with and without it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from supertile.arch import HAT, HATConfig
from supertile.kernels.cpu import attention as kernel
from torch import Tensor

needs_kernel = pytest.mark.skipif(not kernel.can_run(torch.zeros(1)), reason="no kernel can be compiled here")


def windows(x: Tensor, step: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(B, H, W, C) -> (B, rows, columns, L, C), each window cut out."""
    cut = x.unfold(1, size[0], step[0]).unfold(2, size[1], step[1])
    return cut.permute(0, 1, 2, 4, 5, 3).flatten(3, 4)


def by_the_formula(q: Tensor, k: Tensor, v: Tensor, heads: int, window: Any, around: Any, bias: Tensor, scale: float):
    q, k, v = (
        windows(x.double(), window, size).unflatten(-1, (heads, -1)).transpose(3, 4)
        for x, size in ((q, window), (k, around), (v, around))
    )
    out = torch.softmax(scale * q @ k.transpose(-1, -2) + bias.double()[:, None, None], -1) @ v
    b, rows, columns, _, _, _ = out.shape
    pixels = out.transpose(3, 4).flatten(4).unflatten(3, window)  # (B, rows, columns, h, w, C)
    return pixels.permute(0, 1, 3, 2, 4, 5).reshape(b, rows * window[0], columns * window[1], -1)


@needs_kernel
@pytest.mark.parametrize(
    ("heads", "dim", "window", "around"),
    [
        (6, 30, (16, 16), (16, 16)),  # HAT
        (6, 24, (16, 16), (24, 24)),  # HAT-S, overlapping
        (6, 30, (8, 16), (8, 16)),  # what a border leaves of a shifted window
        (3, 20, (7, 7), (7, 7)),  # 49 keys: no multiple of anything
        (1, 1, (1, 1), (1, 1)),
        (2, 64, (5, 3), (9, 7)),
        (4, 33, (8, 8), (12, 12)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_computes_the_formula(heads: int, dim: int, window: Any, around: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    batch, rows, columns = 2, 3, 2
    size = rows * window[0], columns * window[1]
    halo = around[0] - window[0], around[1] - window[1]
    q = torch.randn(batch, *size, 2 * heads * dim).to(dtype)[..., heads * dim :]  # a view
    kv = torch.randn(batch, size[0] + halo[0], size[1] + halo[1], 2 * heads * dim).to(dtype)
    k, v = kv.chunk(2, dim=-1)
    bias = 3 * torch.randn(1, heads, window[0] * window[1], around[0] * around[1])
    out = torch.full((batch, *size, heads * dim), torch.nan, dtype=dtype)
    kernel.window_attention(
        q, k, v, heads=heads, window=window, key_window=around, bias=kernel.pack_bias(bias), scale=0.7, out=out
    )
    expected = by_the_formula(q, k, v, heads, window, around, bias, 0.7)
    assert (out - expected).abs().max() < (2e-5 if dtype == torch.float32 else 0.02)


@needs_kernel
@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf])
@pytest.mark.parametrize("where", ["q", "k", "v", "bias"])
def test_what_is_no_number_shows(value: float, where: str) -> None:
    """In all channels of the head, of one query, or of all queries of a window."""
    given = {name: torch.rand(1, 8, 4, 10) for name in ("q", "k", "v")} | {"bias": torch.rand(1, 2, 16, 16)}
    given[where][0, 0, 0, 0] = value
    bias = kernel.pack_bias(given.pop("bias"))
    out = torch.empty_like(given["q"])
    kernel.window_attention(**given, heads=2, window=(4, 4), key_window=(4, 4), bias=bias, scale=1.0, out=out)
    assert not out[0, 0, 0, : 1 if where == "v" else 5].isfinite().any()
    if where != "bias":
        assert out[0, 4:].isfinite().all()
        assert out[0, :4, :, 5:].isfinite().all()


@needs_kernel
@pytest.mark.parametrize("spread", [0, 1e-3, 50, 1e4])
def test_softmax_is_exact_for_small_and_for_huge_scores(spread: float) -> None:
    torch.manual_seed(0)
    q = torch.zeros(1, 4, 4, 8)
    v = torch.randn(1, 4, 4, 8)
    bias = spread * torch.randn(1, 1, 16, 16)
    out = torch.empty_like(v)
    prepared = kernel.pack_bias(bias)
    kernel.window_attention(
        q, q.clone(), v, heads=1, window=(4, 4), key_window=(4, 4), bias=prepared, scale=1.0, out=out
    )
    expected = (torch.softmax(bias[0, 0].double(), -1) @ v.double().reshape(16, 8)).reshape(1, 4, 4, 8)
    assert (out - expected).abs().max() < 2e-6 * max(spread, 1)


@needs_kernel
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 16, 24, 32)
    bias = kernel.pack_bias(torch.randn(1, 2, 64, 64))
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            results.append(torch.empty_like(q))
            kernel.window_attention(
                q, k, v, heads=2, window=(8, 8), key_window=(8, 8), bias=bias, scale=1.0, out=results[-1]
            )
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


@needs_kernel
def test_kernel_leaves_gradients_and_counted_work_to_pytorch() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    assert not kernel.can_run(torch.zeros(1, requires_grad=True))
    assert not kernel.can_run(torch.zeros(1, dtype=torch.float16))
    with torch.no_grad():
        assert kernel.can_run(torch.zeros(1, requires_grad=True))
    with FlopCounterMode(display=False):
        assert not kernel.can_run(torch.zeros(1))


@needs_kernel
@pytest.mark.parametrize(("height", "width"), [(40, 56), (7, 90)])
def test_network_is_the_same_with_and_without_the_kernel(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch, randomized: Any
) -> None:
    network = randomized(
        HAT(HATConfig(scale=2, embed_dim=36, depths=(2, 2), num_heads=(3, 3), window_size=8, overlap_window=12))
    )
    image = torch.rand(2, 3, height, width)
    with torch.no_grad():
        with_kernel = network(image)
        monkeypatch.setattr(kernel, "can_run", lambda *tensors: False)
        without = network(image)
    assert not torch.equal(with_kernel, without)  # or the kernel was not used
    assert (with_kernel - without).abs().max() < 1e-5
