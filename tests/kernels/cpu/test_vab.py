"""VapSR's block by the compiled kernel against PyTorch's layers in double precision, and networks with and without."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from supertile.arch import VapSR, VapSRConfig
from supertile.arch.strips import StripPlan, Strips, gather
from supertile.arch.vapsr import VAB
from supertile.kernels.cpu import bands
from supertile.kernels.cpu import vab as kernel
from torch import Tensor, nn

needs_kernel = pytest.mark.skipif(not kernel.supports(64, 48, torch.float32), reason="no kernel can be compiled here")


def layers(block: VAB) -> kernel.Layers:
    look = block.atten_branch
    return kernel.Layers(
        block.proj_1, look.pointwise, look.depthwise, look.depthwise_dilated, block.proj_2, block.pixel_norm
    )


def block(features: int, channels: int) -> VAB:
    """Random weights whose every step matters: the gate neither vanishes nor drowns the features."""
    torch.manual_seed(0)
    made = VAB(features, channels).eval().requires_grad_(False)
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.normal_(0, layer.weight[0].numel() ** -0.5)
            layer.bias.normal_(0, 0.3)
    made.pixel_norm.weight.normal_(1, 0.3)
    made.pixel_norm.bias.normal_(0, 0.3)
    return made


def by_kernel(made: VAB, x: Tensor, *bounds: int) -> Tensor:
    """The strips of x that end at `bounds`, and at its end."""
    rows = bands.BandKernel(kernel.pack_weights(layers(made)), x.shape[1])
    ends = [*bounds, x.shape[1]]
    parts = [rows(x[:, start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return torch.cat([part for part in parts if part is not None], 1)


@torch.no_grad()
def by_layers(made: VAB, x: Tensor) -> Tensor:
    """In double precision, where there is no kernel."""
    double = copy.deepcopy(made).double()
    look = layers(double)
    lifted = nn.functional.gelu(look.proj_1(x.double().permute(0, 3, 1, 2)))
    gate = look.depthwise_dilated(look.depthwise(look.pointwise(lifted)))
    y = look.proj_2(lifted * gate).permute(0, 2, 3, 1) + x.double()
    return look.pixel_norm(y)


@needs_kernel
@pytest.mark.parametrize(("features", "channels"), [(48, 64), (32, 64), (16, 16), (64, 48), (80, 112), (128, 32)])
@pytest.mark.parametrize("width", [1, 2, 7, 20, 49, 131])
def test_kernel_computes_what_the_layers_do(features: int, channels: int, width: int) -> None:
    made = block(features, channels)
    x = torch.randn(2, 23, width, 2 * features)[..., features:]  # a view
    expected = by_layers(made, x)
    assert (by_kernel(made, x) - expected).abs().max() < 2e-5
    assert (by_kernel(made, x, 1, 2, 9, 10, 21) - expected).abs().max() < 2e-5


@needs_kernel
@pytest.mark.parametrize("height", [1, 2, 3, 8, 9, 16, 17, 40])
@pytest.mark.parametrize("strip", [1, 3, 16])
def test_any_height_in_any_strips(height: int, strip: int) -> None:
    made = block(16, 32)
    x = torch.randn(1, height, 11, 16)
    assert (by_kernel(made, x, *range(strip, height, strip)) - by_layers(made, x)).abs().max() < 2e-5


@needs_kernel
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [(1, 1), (3, 2), (16, 7), (2, 25), (4, 200)])
def test_any_threads_bands_and_panels_give_the_same_bits(
    threads: int, parts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, x = block(48, 64), torch.randn(1, 30, 200, 48)
    expected, before = by_kernel(made, x), torch.get_num_threads()
    monkeypatch.setattr(bands, "band_layout", lambda width, threads: parts)
    try:
        torch.set_num_threads(threads)
        assert torch.equal(by_kernel(made, x, 13), expected)
    finally:
        torch.set_num_threads(before)


@needs_kernel
@pytest.mark.skipif(not kernel.supports(64, 48, torch.bfloat16), reason="this processor does not multiply bf16")
def test_maps_in_bf16_are_as_exact_as_their_numbers() -> None:
    made, x = block(48, 64), torch.randn(2, 20, 50, 48)
    expected = by_layers(made, x)
    for layer in layers(made).maps:
        layer.bfloat16()
    error = (by_kernel(made, x, 7) - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 1e-4 < error < 0.01  # two to the power of -8 is 0.004; and less than 1e-4 would not have been bf16


@needs_kernel
def test_what_is_no_number_or_huge_shows() -> None:
    made, x = block(48, 64), torch.randn(1, 20, 20, 48)
    x[0, 3, 4, 5] = torch.nan
    result = by_kernel(made, x)
    assert result[0, 3, 4].isnan().all()
    assert result[0, 3:12, 4:13].isnan().all(-1).any()
    assert result[0, 15:].isfinite().all()
    huge = 1e4 * torch.randn(1, 9, 9, 48)
    assert (by_kernel(made, huge) - by_layers(made, huge)).abs().max() < 1e-3


@needs_kernel
def test_kernel_leaves_to_pytorch_what_it_cannot_take() -> None:
    made = block(48, 64)
    with torch.no_grad():
        assert kernel.can_run(layers(made))
        assert not kernel.can_run(layers(copy.deepcopy(made).half()))
        assert not kernel.can_run(layers(copy.deepcopy(made).double()))
        assert not kernel.can_run(layers(block(40, 64)))
        assert not kernel.can_run(layers(block(48, 256)))
        mixed = copy.deepcopy(made)
        mixed.proj_2.bfloat16()
        assert not kernel.can_run(layers(mixed))
    assert not kernel.can_run(layers(made))  # gradients of the features may be wanted


@needs_kernel
@pytest.mark.parametrize("rows", [None, 1, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_network_is_the_same_with_and_without_the_kernel(
    rows: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, randomized: Callable
) -> None:
    if not kernel.supports(64, 48, dtype):
        pytest.skip("this processor does not multiply bf16")
    network = randomized(VapSR(VapSRConfig(scale=2, num_blocks=3))).to(dtype)
    image = torch.rand(2, 3, 37, 29)

    def result() -> Tensor:
        job = StripPlan(rows)
        return gather(network.strips(image, job), job)

    with torch.no_grad():
        with_kernel = result()
        monkeypatch.setattr(kernel, "can_run", lambda given: False)
        without = result()
    assert not torch.equal(with_kernel, without)  # or the kernel was not used
    assert (with_kernel - without).abs().max() < (1e-5 if dtype == torch.float32 else 0.02)


def test_strips_that_make_nothing_ready_are_passed_over() -> None:
    parts = iter(torch.full((1, 1, 1, 1), float(i)) for i in range(4))
    only_odd = Strips(4, parts).filter_map(lambda part: part if part.item() % 2 else None)
    assert [part.item() for part in only_odd] == [1, 3]
