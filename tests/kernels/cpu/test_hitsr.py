"""HiT-SR's kernels against its layers in double precision, and networks with and without them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from supertile.arch.hat import Mlp as HATMlp
from supertile.arch.hitsr import Correlation, DualFeatureExtraction, HiTSR, HiTSRConfig, Mlp
from supertile.arch.hitsr_ngrams import NGramContext
from supertile.arch.strips import StripPlan, Strips, gather, split_rows
from supertile.kernels.cpu import bands, correlation, dual_features, mlp, ngrams
from torch import Tensor, nn

FP32, BF16 = torch.float32, torch.bfloat16
needs_kernels = pytest.mark.skipif(not mlp.supports(120, 60, FP32), reason="no kernel can be compiled here")
needs_half = pytest.mark.skipif(not mlp.supports(120, 60, BF16), reason="this processor does not multiply bf16")
CLOSE = 2e-5


def in_strips(x: Tensor, ends: tuple[int, ...]) -> Strips:
    """The strips of x that end there, and at its end."""
    return split_rows(x, [0, *(end for end in ends if end < x.shape[1]), x.shape[1]])


def all_of(strips: Strips) -> Tensor:
    return torch.cat(list(strips), 1)


def relative(y: Tensor, expected: Tensor) -> float:
    return ((y - expected).square().mean() / expected.square().mean()).sqrt().item()


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leaves all of it to PyTorch from when it is called."""

    def switch() -> None:
        for module in (mlp, dual_features, correlation, ngrams):
            monkeypatch.setattr(module, "can_run", lambda *given: False)

    return switch


def threads_and_bands(test: Callable) -> Callable:
    """Runs a test in few threads and many, with bands of one row and of many."""
    test = pytest.mark.parametrize("threads", [1, 2, 5])(test)
    return pytest.mark.parametrize("parts", [(1, 1), (3, 2), (16, 7), (4, 200)])(test)


@pytest.fixture
def set_threads() -> Callable[[int], None]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- MLP ---------------------------------------------------------------------------------------------------------


def mlp_layers(made: Mlp, norm: nn.LayerNorm) -> mlp.Layers:
    look = None if made.dwconv is None else made.dwconv.depthwise_conv[0]
    return mlp.Layers(made.fc1, made.fc2, dwconv=look, post_norm=norm)


def random_mlp(randomized: Callable, features: int, hidden: int, depthwise: bool) -> tuple[Mlp, nn.LayerNorm]:
    return randomized(Mlp(features, hidden, depthwise)), randomized(nn.LayerNorm(features), 1)


@torch.no_grad()
def mlp_by_layers(made: Mlp, norm: nn.LayerNorm, x: Tensor) -> Tensor:
    made, norm, x = copy.deepcopy(made).double(), copy.deepcopy(norm).double(), x.double()
    h = nn.functional.gelu(made.fc1(x))
    if made.dwconv is not None:
        h = h + made.dwconv.depthwise_conv(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x + norm(made.fc2(h))


@torch.no_grad()
def mlp_by_kernel(made: Mlp, norm: nn.LayerNorm, x: Tensor, *ends: int) -> Tensor:
    rows = bands.BandKernel(mlp.pack_weights(mlp_layers(made, norm)), x.shape[1])
    return all_of(in_strips(x, ends).filter_map(rows))


@needs_kernels
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("features", "hidden"), [(60, 120), (16, 16), (20, 41), (64, 128), (7, 100), (128, 3)])
@pytest.mark.parametrize("width", [1, 2, 7, 49, 131])
def test_mlp_computes_what_the_layers_do(
    randomized: Callable, features: int, hidden: int, width: int, depthwise: bool
) -> None:
    made, norm = random_mlp(randomized, features, hidden, depthwise)
    x = torch.randn(2, 19, width, 2 * features)[..., features:]  # a view
    expected = mlp_by_layers(made, norm, x)
    assert (mlp_by_kernel(made, norm, x) - expected).abs().max() < CLOSE
    assert (mlp_by_kernel(made, norm, x, 1, 2, 9, 10, 17) - expected).abs().max() < CLOSE


@needs_kernels
@pytest.mark.parametrize("height", [1, 2, 3, 5, 16, 40])
@pytest.mark.parametrize("strip", [1, 3, 16])
def test_mlp_of_any_height_in_any_strips(randomized: Callable, height: int, strip: int) -> None:
    made, norm = random_mlp(randomized, 12, 24, depthwise=True)
    x = torch.randn(1, height, 11, 12)
    y = mlp_by_kernel(made, norm, x, *range(strip, height, strip))
    assert (y - mlp_by_layers(made, norm, x)).abs().max() < CLOSE


@needs_kernels
@threads_and_bands
def test_mlp_gives_the_same_bits_whatever_the_parts(
    randomized: Callable, threads: int, parts: tuple[int, int], monkeypatch: pytest.MonkeyPatch, set_threads: Callable
) -> None:
    made, norm = random_mlp(randomized, 60, 120, depthwise=True)
    x = torch.randn(1, 30, 200, 60)
    expected = mlp_by_kernel(made, norm, x)
    monkeypatch.setattr(bands, "band_layout", lambda width, threads: parts)
    set_threads(threads)
    assert torch.equal(mlp_by_kernel(made, norm, x, 13), expected)


@needs_kernels
@needs_half
@pytest.mark.parametrize("depthwise", [True, False])
def test_mlp_in_bf16_is_as_exact_as_its_numbers(randomized: Callable, depthwise: bool) -> None:
    made, norm = random_mlp(randomized, 60, 120, depthwise)
    x = torch.randn(2, 20, 50, 60)
    expected = mlp_by_layers(made, norm, x)
    error = relative(mlp_by_kernel(made.bfloat16(), norm, x, 7), expected)
    assert 1e-4 < error < 0.01  # two to the power of -8 is 0.004; and less than 1e-4 would not have been bf16


@needs_kernels
@pytest.mark.parametrize(("features", "hidden"), [(180, 360), (144, 288), (300, 512), (30, 60)])
@pytest.mark.parametrize("dtype", [FP32, pytest.param(BF16, marks=needs_half)])
def test_mlp_behind_its_norm_is_what_the_layers_compute(
    randomized: Callable, features: int, hidden: int, dtype: torch.dtype
) -> None:
    """HAT's."""
    made, norm = randomized(HATMlp(features, hidden)), randomized(nn.LayerNorm(features), 1)
    x = torch.randn(2, 9, 75, features)
    double, n = copy.deepcopy(made).double(), copy.deepcopy(norm).double()(x.double())
    expected = x + double.fc2(nn.functional.gelu(double.fc1(n)))
    made.to(dtype)
    with torch.no_grad():
        assert mlp.can_run(mlp.Layers(made.fc1, made.fc2, pre_norm=norm))
        y = made(x, norm)
    if dtype == FP32:
        assert (y - expected).abs().max() < CLOSE
    else:
        assert 1e-4 < relative(y - x, expected - x) < 0.01


# --- queries and values ------------------------------------------------------------------------------------------


def dual_layers(made: DualFeatureExtraction) -> dual_features.Layers:
    return dual_features.Layers(made.conv[0], made.conv[2], made.conv[4], made.linear)


@torch.no_grad()
def dual_by_layers(made: DualFeatureExtraction, x: Tensor, width: int) -> Tensor:
    made, x = copy.deepcopy(made).double(), x.double()
    if width > x.shape[2]:
        x = nn.functional.pad(x.permute(0, 3, 1, 2), (0, width - x.shape[2], 0, 0), mode="reflect").permute(0, 2, 3, 1)
    x = x.permute(0, 3, 1, 2)
    return (made.conv(x) * made.linear(x)).permute(0, 2, 3, 1)


@torch.no_grad()
def dual_by_kernel(made: DualFeatureExtraction, x: Tensor, width: int, *ends: int) -> Tensor:
    rows = bands.BandKernel(dual_features.pack_weights(dual_layers(made)), x.shape[1], width)
    return all_of(in_strips(x, ends).filter_map(rows))


@needs_kernels
@pytest.mark.parametrize("features", [60, 16, 20, 35, 128])
@pytest.mark.parametrize(("width", "to"), [(1, 1), (2, 3), (7, 7), (49, 64), (131, 192)])
def test_queries_and_values_are_what_the_layers_compute(
    randomized: Callable, features: int, width: int, to: int
) -> None:
    made = randomized(DualFeatureExtraction(features))
    x = torch.randn(2, 19, width, 2 * features)[..., features:]
    expected = dual_by_layers(made, x, to)
    assert (dual_by_kernel(made, x, to) - expected).abs().max() < CLOSE
    assert (dual_by_kernel(made, x, to, 1, 2, 9, 10, 18) - expected).abs().max() < CLOSE


@needs_kernels
def test_queries_and_values_of_a_image_narrower_than_its_mirror(randomized: Callable) -> None:
    made = randomized(DualFeatureExtraction(20))
    x = torch.randn(1, 5, 3, 20)
    wave = x[:, :, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]]
    assert (dual_by_kernel(made, x, 11) - dual_by_layers(made, wave, 11)).abs().max() < CLOSE
    one = x[:, :, :1]
    assert (dual_by_kernel(made, one, 4) - dual_by_layers(made, one.repeat(1, 1, 4, 1), 4)).abs().max() < CLOSE


@needs_kernels
@threads_and_bands
def test_queries_and_values_are_the_same_bits_whatever_the_parts(
    randomized: Callable, threads: int, parts: tuple[int, int], monkeypatch: pytest.MonkeyPatch, set_threads: Callable
) -> None:
    made, x = randomized(DualFeatureExtraction(60)), torch.randn(2, 30, 190, 60)
    expected = dual_by_kernel(made, x, 192)
    monkeypatch.setattr(bands, "band_layout", lambda width, threads: parts)
    set_threads(threads)
    assert torch.equal(dual_by_kernel(made, x, 192, 13), expected)


@needs_kernels
@needs_half
def test_queries_and_values_in_bf16_are_as_exact_as_their_numbers(randomized: Callable) -> None:
    made, x = randomized(DualFeatureExtraction(60)), torch.randn(2, 20, 50, 60)
    expected = dual_by_layers(made, x, 64)
    error = relative(dual_by_kernel(made.bfloat16(), x, 64, 7), expected)
    assert 1e-4 < error < 0.02


# --- correlation -------------------------------------------------------------------------------------------------


def correlation_of(
    randomized: Callable, base: tuple[int, int], ratio: float, features: int = 60, heads: int = 6, variant: str = "SRF"
) -> tuple[Correlation, nn.LayerNorm]:
    config = HiTSRConfig(
        variant=variant, embed_dim=features, depths=(1,), num_heads=(heads,), base_window=base, window_ratios=(ratio,)
    )
    return randomized(Correlation(config, heads, 0)), randomized(nn.LayerNorm(features), 1)


@torch.no_grad()
def correlated(c: Correlation, norm: nn.LayerNorm, x: Tensor, *ends: int) -> Tensor:
    return all_of(c(in_strips(x, ends), x.shape[2], norm))


WINDOWS = [
    ((8, 8), 0.5), ((8, 8), 1), ((8, 8), 2), ((8, 8), 4), ((8, 8), 6), ((8, 8), 8),  # the published ones
    ((4, 8), 2), ((8, 4), 2), ((4, 4), 3), ((16, 16), 1), ((12, 12), 1), ((12, 12), 2), ((2, 16), 1),
]  # fmt: skip


@needs_kernels
@pytest.mark.parametrize(("base", "ratio"), WINDOWS)
@pytest.mark.parametrize(("features", "heads"), [(60, 6), (20, 2), (24, 4), (32, 1), (64, 32)])
def test_correlation_is_what_pytorch_computes(
    randomized: Callable, no_kernels: Callable, base: tuple[int, int], ratio: float, features: int, heads: int
) -> None:
    c, norm = correlation_of(randomized, base, ratio, features, heads)
    windows = c.windows
    assert correlation.supports(windows)
    x = torch.randn(2, c.windows.size[0] + 3, 2 * c.windows.size[1] + 5, 2 * features)[..., features:]
    by_kernel, in_two = correlated(c, norm, x), correlated(c, norm, x, c.windows.size[0] + 1)
    no_kernels()
    expected = correlated(copy.deepcopy(c), norm, x)
    assert not torch.equal(by_kernel, expected)
    assert (by_kernel - expected).abs().max() < 5e-5
    assert (in_two - expected).abs().max() < 5e-5


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize(("base", "ratio"), [((8, 8), 0.5), ((8, 8), 1), ((8, 8), 4)])
def test_correlation_is_the_same_in_few_threads_and_many(
    randomized: Callable, threads: int, base: tuple[int, int], ratio: float, set_threads: Callable
) -> None:
    """Many threads share windows, few have some each."""
    c, norm = correlation_of(randomized, base, ratio)
    x = torch.randn(1, 70, 90, 60)
    set_threads(1)
    expected = correlated(c, norm, x)
    set_threads(threads)
    assert (correlated(c, norm, x) - expected).abs().max() < 1e-5


@needs_kernels
def test_windows_that_there_is_no_kernel_for() -> None:
    supports, windows = correlation.supports, correlation.Windows
    assert supports(windows((8, 8), (1, 1), 60, 6))
    assert not supports(windows((3, 3), (1, 1), 60, 6))  # 9 pixels are no vectors
    assert not supports(windows((8, 8), (1, 1), 180, 6))
    assert not supports(windows((32, 32), (1, 1), 60, 6))  # 1024 patches


# --- n-grams -----------------------------------------------------------------------------------------------------


@needs_kernels
@pytest.mark.parametrize("window", [(4, 4), (8, 8), (2, 16), (64, 64), (3, 5)])
@pytest.mark.parametrize(("features", "heads"), [(60, 6), (20, 2), (128, 8), (12, 1)])
@pytest.mark.parametrize("rows", [1, 3])
def test_context_of_windows_is_what_pytorch_computes(
    randomized: Callable, no_kernels: Callable, window: tuple[int, int], features: int, heads: int, rows: int
) -> None:
    context = randomized(NGramContext(features, heads, window))
    columns = 2 if window == (64, 64) else 19
    x = torch.randn(2, 4 * window[0], columns * window[1], 2 * features)[..., features:]

    def result() -> Tensor:
        with torch.no_grad():
            strips = split_rows(x, [*range(0, x.shape[1], rows * window[0]), x.shape[1]])
            return all_of(context(strips, lambda _, of_windows: of_windows.view(2, -1, columns, features)))

    by_kernel = result()
    no_kernels()
    assert not torch.equal(by_kernel, result())
    assert (by_kernel - result()).abs().max() < CLOSE


@needs_kernels
def test_bigrams_of_large_numbers_stay_finite(randomized: Callable, no_kernels: Callable) -> None:
    attention = randomized(NGramContext(20, 2, (4, 4))).ngram_attn
    x = 300 * torch.randn(1, 6, 6, 10)
    with torch.no_grad():
        by_kernel = attention(x)
        no_kernels()
        expected = attention(x)
    assert ((by_kernel - expected).abs() / expected.abs().max()).max() < 1e-4


# --- networks ----------------------------------------------------------------------------------------------------


@needs_kernels
@pytest.mark.parametrize("variant", ["SRF", "SIR", "SNG"])
@pytest.mark.parametrize("rows", [None, 1, 16])
@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_network_is_the_same_with_and_without_the_kernels(
    variant: str, rows: int | None, dtype: torch.dtype, no_kernels: Callable, randomized: Callable
) -> None:
    if not mlp.supports(120, 60, dtype):
        pytest.skip("this processor does not multiply bf16")
    config = HiTSRConfig(variant=variant, depths=(3, 2), num_heads=(6, 6), window_ratios=(0.5, 1, 2), scale=2)
    network = randomized(HiTSR(config))
    for module in network.modules():
        if dtype == BF16 and isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    image = torch.rand(2, 3, 37, 29)

    def result() -> Tensor:
        job = StripPlan(rows)
        return gather(network.strips(image, job), job)

    with torch.no_grad():
        with_kernels = result()
        no_kernels()
        without = result()
    assert not torch.equal(with_kernels, without)
    assert (with_kernels - without).abs().max() < (2e-5 if dtype == FP32 else 0.1)


@needs_kernels
def test_what_is_no_number_shows(randomized: Callable) -> None:
    network = randomized(HiTSR(HiTSRConfig(depths=(2,), num_heads=(6,), window_ratios=(0.5, 1), scale=2)))
    image = torch.rand(1, 3, 64, 64)
    image[0, 1, 5, 5] = torch.nan
    with torch.no_grad():
        y = network(image)
    assert y[0, :, 8:12, 8:12].isnan().any()
    assert y[0, :, 100:, 100:].isfinite().all()


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_a_host_has_set_for_new_tensors_is_of_no_account(randomized: Callable, dtype: torch.dtype) -> None:
    network = randomized(
        HiTSR(HiTSRConfig(variant="SNG", depths=(2,), num_heads=(6,), window_ratios=(0.5, 1), scale=2))
    )
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = network(image)
        torch.set_default_dtype(dtype)
        try:
            assert torch.equal(network(image), expected)
        finally:
            torch.set_default_dtype(torch.float32)


@needs_kernels
def test_kernels_leave_to_pytorch_what_they_cannot_take(randomized: Callable) -> None:
    made, norm = random_mlp(randomized, 60, 120, depthwise=True)
    dual = randomized(DualFeatureExtraction(60))
    with torch.no_grad():
        assert mlp.can_run(mlp_layers(made, norm))
        assert dual_features.can_run(dual_layers(dual))
        assert not mlp.can_run(mlp_layers(copy.deepcopy(made).half(), norm))
        assert not mlp.can_run(mlp_layers(*random_mlp(randomized, 60, 1000, depthwise=True)))
        assert not dual_features.can_run(dual_layers(copy.deepcopy(dual).double()))
        mixed = copy.deepcopy(made)
        mixed.fc2.bfloat16()
        assert not mlp.can_run(mlp_layers(mixed, norm))
    assert not mlp.supports(120, 60, torch.float16)
    assert not dual_features.supports(12, 60, torch.float16)
    assert not mlp.can_run(mlp_layers(made, norm))  # gradients of the features may be wanted
    assert not dual_features.can_run(dual_layers(dual))
