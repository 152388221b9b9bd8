"""The kernels for CUDA against PyTorch. `test_kernels.py` starts this in a process of its own.

With TRITON_INTERPRET=1 Triton's interpreter runs them on a CPU, without it a GPU does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import triton.language as tl
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.arch.hitsr import Correlation
from supertile.arch.strips import StripPlan, gather
from supertile.kernels import autotune
from supertile.kernels.cuda import attention, correlation, depthwise, layer_norm
from supertile.kernels.ops.correlation import by_matrices
from torch import Tensor, nn
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
HALVES = [torch.float16, torch.bfloat16]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"


@pytest.fixture(autouse=True)
def _on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not INTERPRETED:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with torch.device(DEVICE):
        yield


def placed(network: nn.Module, randomized: Callable) -> nn.Module:
    """With random weights, on the device."""
    with torch.device("cpu"):
        return randomized(network.to("cpu")).to(DEVICE)


@pytest.fixture(autouse=True)
def _products_of_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter keeps bf16 as 16 bits, and multiplies them as integers; as numbers here."""
    if not INTERPRETED:
        return
    plain = InterpreterBuilder.create_dot

    def number(x: TensorHandle) -> TensorHandle:
        if x.dtype.scalar is not tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_dot(self: Any, a: TensorHandle, b: TensorHandle, *others: Any) -> TensorHandle:
        return plain(self, number(a), number(b), *others)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


def off(found: Tensor, expected: Tensor) -> float:
    """How far, of the largest value."""
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


# --- attention ---------------------------------------------------------------------------------------------------


def by_the_formula(
    q: Tensor, k: Tensor, v: Tensor, heads: int, window: Any, key_window: Any, bias: Tensor, scale: float,
    origin: Any = (0, 0), key_origin: Any = (0, 0), zero_padding: bool = False,
) -> Tensor:  # fmt: skip
    """One window after the other, one pixel at a time, in double precision."""
    out = torch.full(q.shape, torch.nan, dtype=torch.float64)
    steps = [range(-(-(size - at) // w)) for size, at, w in zip(q.shape[1:3], origin, window, strict=True)]
    for row, column in itertools.product(*steps):
        corner = origin[0] + row * window[0], origin[1] + column * window[1]
        far = key_origin[0] + row * window[0], key_origin[1] + column * window[1]
        asks = [
            (i, corner[0] + y, corner[1] + x)
            for i, (y, x) in enumerate(itertools.product(range(window[0]), range(window[1])))
            if 0 <= corner[0] + y < q.shape[1] and 0 <= corner[1] + x < q.shape[2]
        ]
        answers = []
        for i, (y, x) in enumerate(itertools.product(range(key_window[0]), range(key_window[1]))):
            inside = 0 <= far[0] + y < k.shape[1] and 0 <= far[1] + x < k.shape[2]
            if inside or zero_padding:
                answers.append((i, far[0] + y, far[1] + x, inside))
        of_queries, ys, xs = map(list, zip(*asks, strict=True))
        of_keys, down, across, there = map(list, zip(*answers, strict=True))
        mask = torch.tensor(there, dtype=torch.float64)[:, None, None]
        down, across = ([at * inside for at, inside in zip(places, there, strict=True)] for places in (down, across))
        for batch in range(len(q)):
            queries = q[batch, ys, xs].double().unflatten(-1, (heads, -1))
            keys, values = (t[batch, down, across].double().unflatten(-1, (heads, -1)) * mask for t in (k, v))
            scores = scale * torch.einsum("ihd,jhd->hij", queries, keys) + bias[0].double()[:, of_queries][..., of_keys]
            out[batch, ys, xs] = torch.einsum("hij,jhd->ihd", torch.softmax(scores, -1), values).flatten(1)
    return out


def features(batch: int, height: int, width: int, channels: int, dtype: torch.dtype) -> Tensor:
    """A view of a map with other channels and rows around it."""
    return torch.randn(batch, height + 2, width, 3 * channels).to(dtype)[:, 1:-1, :, channels : 2 * channels]


@pytest.mark.parametrize(
    ("heads", "dim", "window", "key_window", "windows", "dtype"),
    [
        (1, 30, (16, 16), (16, 16), (1, 1), torch.float32),  # HAT
        (1, 24, (16, 16), (24, 24), (1, 1), torch.float16),  # HAT-S, overlapping
        (2, 30, (8, 16), (8, 16), (1, 2), torch.float16),  # what a border leaves of a shifted window
        (2, 32, (8, 8), (8, 8), (2, 1), torch.bfloat16),
        *[(3, 20, (7, 7), (9, 9), (1, 2), dtype) for dtype in (torch.float32, *HALVES)],  # multiples of nothing
        (1, 8, (1, 1), (1, 1), (2, 3), torch.float32),
        (1, 64, (5, 3), (9, 7), (2, 2), torch.float32),
        (2, 33, (4, 4), (6, 6), (1, 2), torch.float16),
    ],
)
def test_attention(heads: int, dim: int, window: Any, key_window: Any, windows: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    sides = windows[0] * window[0], windows[1] * window[1]
    beyond = key_window[0] - window[0], key_window[1] - window[1]
    q = features(2, *sides, heads * dim, dtype)
    k, v = features(2, sides[0] + beyond[0], sides[1] + beyond[1], 2 * heads * dim, dtype).chunk(2, -1)
    bias = 3 * torch.randn(1, heads, window[0] * window[1], key_window[0] * key_window[1]).to(dtype)
    given: dict[str, Any] = {"heads": heads, "window": window, "key_window": key_window, "bias": bias, "scale": 0.3}
    out = attention.window_attention(q, k, v, precision="tf32x3", **given)
    assert out.dtype == dtype
    assert off(out, by_the_formula(q, k, v, **given)) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("sides", "origin", "key_origin", "key_window", "zeros"),
    [
        ((12, 8), (-2, -2), (-2, -2), (4, 4), False),  # shifted by half: windows at all four borders are cut
        ((10, 8), (0, -2), (0, -2), (4, 4), False),  # the lower strip of such an image
        ((3, 5), (-1, -3), (-1, -3), (4, 4), False),  # whatever remains of one
        ((8, 8), (0, 0), (-1, -1), (6, 6), True),  # overlapping windows of an image, of which nothing lies beyond
        ((4, 8), (0, 0), (1, -2), (8, 8), True),  # of a strip in it, with three rows above
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_attention_of_windows_that_lie_partly_beyond(
    sides: Any, origin: Any, key_origin: Any, key_window: Any, zeros: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    q = features(2, *sides, 2 * 12, dtype)
    k, v = features(2, sides[0] + (4 if key_origin[0] > 0 else 0), sides[1], 4 * 12, dtype).chunk(2, -1)
    bias = torch.randn(1, 2, 16, key_window[0] * key_window[1]).to(dtype)
    given: dict[str, Any] = {
        "heads": 2, "window": (4, 4), "key_window": key_window, "bias": bias, "scale": 1.0, "origin": origin,
        "key_origin": key_origin, "zero_padding": zeros,
    }  # fmt: skip
    out = attention.window_attention(q, k, v, precision="tf32x3", **given)
    assert off(out, by_the_formula(q, k, v, **given)) < TOLERANCE[dtype]


@pytest.mark.parametrize("spread", [0, 1e-3, 50, 1e4])
def test_softmax_is_exact_for_small_and_for_huge_scores(spread: float) -> None:
    torch.manual_seed(0)
    q, k, v = torch.zeros(1, 9, 9, 8), torch.randn(1, 9, 9, 8), torch.randn(1, 9, 9, 8)
    bias = spread * torch.randn(1, 1, 81, 81)
    given: dict[str, Any] = {"heads": 1, "window": (9, 9), "key_window": (9, 9), "bias": bias, "scale": 1.0}
    out = attention.window_attention(q, k, v, precision="tf32x3", **given)
    assert off(out, by_the_formula(q, k, v, **given)) < 2e-6 * max(spread, 1)


def test_heads_that_are_too_large_are_refused() -> None:
    q = torch.zeros(1, 4, 4, 65)
    with pytest.raises(ValueError, match="65 channels"):
        attention.window_attention(
            q,
            q,
            q,
            heads=1,
            window=(4, 4),
            key_window=(4, 4),
            bias=torch.zeros(1, 1, 16, 16),
            scale=1.0,
            precision="tf32",
        )


# --- convolution and norm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "sides", "dtype"),
    [
        (20, (13, 5), torch.float32),
        (20, (3, 9), torch.float16),
        (20, (3, 9), torch.bfloat16),
        (64, (4, 7), torch.float16),  # VapSR
        (120, (2, 3), torch.float32),  # HiT-SRF: more channels than a program takes
        (1, (1, 1), torch.float32),
    ],
)
@pytest.mark.parametrize(("dilation", "multiplied"), [(1, False), (3, True)])
def test_depthwise(channels: int, sides: Any, dtype: torch.dtype, dilation: int, multiplied: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels, 5, padding=2 * dilation, dilation=dilation, groups=channels).to(dtype)
    conv.requires_grad_(False)
    x, factor = features(2, *sides, channels, dtype), features(2, *sides, channels, dtype)
    expected = conv.double()(x.double().permute(0, 3, 1, 2)).permute(0, 2, 3, 1) * (factor if multiplied else 1)
    weight, bias = conv.weight.to(dtype), conv.bias.to(dtype)
    given = factor if multiplied else None
    y = depthwise.depthwise(x, weight, bias, dilation, given)
    assert y.dtype == dtype
    assert off(y, expected) < TOLERANCE[dtype]
    slab = F.pad(x, (0, 0, 0, 0, 2 * dilation, 2 * dilation))
    assert torch.equal(depthwise.depthwise(slab, weight, bias, dilation, given, rows_padded=False), y)


@pytest.mark.parametrize("channels", [1, 48, 180, 400])
@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float32), (torch.float16, torch.float32), HALVES])
@pytest.mark.parametrize("sums", ["", "before", "after", "both"])
def test_norm(channels: int, dtypes: Any, sums: str) -> None:
    torch.manual_seed(0)
    x, before, after = (5 + 3 * torch.randn(2, 5, 3, channels) for _ in range(3))
    x, before = x.to(dtypes[0]), before if sums in ("before", "both") else None
    after = after.to(dtypes[0]) if sums in ("after", "both") else None
    weight, bias = torch.randn(2, channels)
    y = layer_norm.layer_norm(x, weight, bias, 1e-5, add_before=before, add_after=after, dtype=dtypes[1])
    z = x.double() if before is None else x.double() + before
    expected = F.layer_norm(z, (channels,), weight.double(), bias.double(), 1e-5)
    expected = expected if after is None else expected + after
    assert y.dtype == dtypes[1]
    assert off(y, expected) < TOLERANCE[dtypes[1]]


def test_large_means_cost_no_digits() -> None:
    torch.manual_seed(0)
    x = 1e4 + torch.randn(3, 5, 60)
    y = layer_norm.layer_norm(x, torch.ones(60), torch.zeros(60), 1e-5)
    assert (y - F.layer_norm(x.double(), (60,), eps=1e-5)).abs().max() < 5e-3  # x itself is known to 1e-3


# --- correlation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(3))  # windows of 4, 8 and 16
@pytest.mark.parametrize("variant", ["SRF", "SNG"])
def test_correlation(block: int, variant: str, randomized: Callable) -> None:
    torch.manual_seed(0)
    check_correlation(placed(Correlation(HiTSRConfig(variant=variant), 6, block), randomized), 60, variant == "SNG")


@pytest.mark.parametrize("context", [False, True])
def test_correlation_of_odd_shapes(context: bool, randomized: Callable) -> None:
    torch.manual_seed(0)
    config = HiTSRConfig(embed_dim=24, num_heads=(3,), depths=(1,), base_window=(3, 5), window_ratios=(2,))
    check_correlation(placed(Correlation(config, 3, 0), randomized), 24, context)


def check_correlation(step: Correlation, channels: int, context: bool) -> None:
    windows, layers = step.windows, (step.spatial_linear, step.proj)
    height, width = windows.size
    qv = torch.randn(2, 2 * height + 3, width, channels)[:, 1 : 1 + 2 * height]
    added = torch.randn(4, channels) if context else None
    y = correlation.window_correlation(
        qv, added, window=windows.size, patch=windows.patch, heads=windows.heads, proj=step.proj.weight,
        patch_weight=step.spatial_linear.weight, patch_bias=step.spatial_linear.bias,
        position_bias=step.position_bias(), precision="tf32x3",
    )  # fmt: skip
    assert off(y, by_matrices(qv, added, windows, *layers, step.position_bias())) < TOLERANCE[torch.float32]


# --- networks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every step by the kernel for CUDA; the names of those that were asked for."""
    names: set[str] = set()

    def best(name: str, kind: Any, plain: Any, kernel: Any, given: Any, tf32: bool = False) -> Tensor:
        names.add(name)
        return kernel()

    monkeypatch.setattr(autotune, "best", best)
    for in_c in ("attention", "layer_norm", "vab", "mlp", "dual_features", "correlation", "ngrams"):
        monkeypatch.setattr(f"supertile.kernels.cpu.{in_c}.can_run", lambda *given, **options: False)
    return names


SMALL_HAT = {
    "scale": 2, "embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 4, "overlap_window": 6,
    "compress_dim": 4, "squeeze_dim": 2, "mlp_dim": 12, "oca_mlp_dim": 12, "num_feat": 8,
}  # fmt: skip
SMALL_HIT = {
    "scale": 2, "embed_dim": 24, "depths": (2,), "num_heads": (3,), "mlp_dim": 12, "window_ratios": (1, 2),
    "base_window": (4, 4),
}  # fmt: skip
NETWORKS: dict[str, Any] = {
    "HAT": (lambda: HAT(HATConfig(**SMALL_HAT)), {"window attention", "overlapping attention", "layer norm"}),
    "VapSR": (
        lambda: VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)),
        {"depthwise convolution", "layer norm"},
    ),
    "HiT-SRF": (
        lambda: HiTSR(HiTSRConfig(variant="SRF", **SMALL_HIT)),
        {"correlation", "depthwise convolution", "layer norm"},
    ),
    "HiT-SNG": (lambda: HiTSR(HiTSRConfig(variant="SNG", **SMALL_HIT)), {"correlation", "layer norm"}),
}


@pytest.mark.parametrize(("name", "rows"), [("HAT", None), *((name, 4) for name in NETWORKS)])
def test_a_network_computes_the_same(name: str, rows: int | None, randomized: Callable, request: Any) -> None:
    make, steps = NETWORKS[name]
    network, image = placed(make(), randomized), torch.rand(1, 3, 11, 5)
    with torch.no_grad():
        expected = network(image)
        used = request.getfixturevalue("used")
        job = StripPlan(rows)
        y = gather(network.strips(image, job), job).permute(0, 3, 1, 2)
    assert used == steps
    assert off(y, expected) < TOLERANCE[torch.float32]
