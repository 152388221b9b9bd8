"""The compiled 3x3 convolution against PyTorch's in double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from supertile.kernels.activations import Activation, Kind, activation_of
from supertile.kernels.cpu import build
from supertile.kernels.cpu import convolution as kernel
from torch import Tensor, nn

needs_kernel = pytest.mark.skipif(
    build.load("convolution", kernel.SIGNATURES) is None, reason="no kernel can be compiled here"
)


SMOOTH = nn.GELU(), nn.SiLU(), nn.Mish(), nn.Sigmoid()


def layer(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).requires_grad_(False)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def exact(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C) fp64."""
    bias = None if conv.bias is None else conv.bias.double()
    return F.conv2d(x.double().permute(0, 3, 1, 2), conv.weight.double(), bias, padding=1).permute(0, 2, 3, 1)


@needs_kernel
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 3), (16, 16), (17, 5), (48, 12), (60, 180), (64, 64), (96, 130)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (9, 30), (21, 17)])
def test_it_is_the_convolution(inputs: int, outputs: int, size: tuple[int, int]) -> None:
    conv, x = layer(inputs, outputs), features(2, *size, inputs)
    assert kernel.can_run(x, conv)
    y = kernel.convolve(x, kernel.pack_weights(conv))
    assert y.shape == (2, *size, outputs)
    assert (y - exact(x, conv)).abs().max() < 1e-5


@needs_kernel
def test_it_is_about_as_exact_as_pytorch() -> None:
    conv, x = layer(64, 64), features(1, 64, 64, 64)
    expected = exact(x, conv)
    ours = kernel.convolve(x, kernel.pack_weights(conv)) - expected
    theirs = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) - expected
    assert ours.square().mean().sqrt() < 3 * theirs.square().mean().sqrt()
    assert ours.abs().max() < 2e-6 * expected.abs().max()


@needs_kernel
def test_without_a_bias() -> None:
    conv, x = layer(16, 24, bias=False), features(1, 8, 8, 16)
    y = kernel.convolve(x, kernel.pack_weights(conv))
    assert (y - exact(x, conv)).abs().max() < 1e-5


@needs_kernel
@pytest.mark.parametrize("slope", [0, 0.1, "each"])
def test_negative_results_are_multiplied(slope: float | str) -> None:
    conv, x = layer(16, 24), features(1, 8, 8, 16)
    slopes = torch.linspace(-1, 1, 24) if slope == "each" else torch.tensor([float(slope)])
    y = kernel.convolve(x, kernel.pack_weights(conv, Activation(Kind.LEAKY, slopes)))
    expected = F.prelu(exact(x, conv).permute(0, 3, 1, 2), slopes.double()).permute(0, 2, 3, 1)
    assert (y - expected).abs().max() < 1e-5


@needs_kernel
@pytest.mark.parametrize("after", SMOOTH, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("scale", [0.1, 1, 30])
def test_an_activation_is_computed_with_it(after: nn.Module, scale: float) -> None:
    conv, x = layer(16, 24), scale * features(1, 8, 8, 16)
    y = kernel.convolve(x, kernel.pack_weights(conv, activation_of(after)))
    before = exact(x, conv)
    assert before.abs().max() > scale
    assert (y - after(before)).abs().max() < 2e-6 * max(1, scale)


@needs_kernel
@pytest.mark.parametrize("rows", [3, 6, 11])
def test_rows_above_and_below_may_be_given(rows: int) -> None:
    conv, x = layer(16, 8), features(2, rows, 10, 16)
    y = kernel.convolve(x, kernel.pack_weights(conv), rows_padded=False)
    assert y.shape == (2, rows - 2, 10, 8)
    assert (y - exact(x, conv)[:, 1:-1]).abs().max() < 1e-5


@needs_kernel
def test_views_are_read_as_what_they_show() -> None:
    conv = layer(16, 8)
    whole = features(3, 12, 14, 40)
    weights = kernel.pack_weights(conv)
    for view in (whole[1:, 2:9, 3:, 8:24], whole[..., ::2][..., :16], whole.transpose(1, 2)[..., :16]):
        assert torch.equal(kernel.convolve(view, weights), kernel.convolve(view.contiguous(), weights))
    assert kernel.convolve(whole[:, :0, :, :16], weights).shape == (3, 0, 14, 8)


@needs_kernel
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 8), (13, 5), (64, 32)])
def test_results_may_be_other_channels_of_the_same_tensor(inputs: int, outputs: int) -> None:
    conv, whole = layer(inputs, outputs), features(3, 12, 14, inputs + outputs + 3)
    x, out = whole[1:, 2:9, 3:, :inputs], whole[1:, 2:9, 3:, inputs : inputs + outputs]
    weights, before = kernel.pack_weights(conv), whole.clone()
    expected = kernel.convolve(x, weights)
    assert kernel.convolve(x, weights, out=out) is out
    assert torch.equal(out, expected)
    out.copy_(before[1:, 2:9, 3:, inputs : inputs + outputs])
    assert torch.equal(whole, before)  # nothing else was written


@needs_kernel
def test_the_number_of_threads_changes_nothing(with_threads: Callable) -> None:
    conv, x = layer(32, 32), features(1, 50, 60, 32)
    weights = kernel.pack_weights(conv)
    results = with_threads(lambda: kernel.convolve(x, weights))
    assert all(torch.equal(results[0], each) for each in results[1:])


@needs_kernel
@pytest.mark.parametrize("after", [nn.LeakyReLU(0.1), *SMOOTH], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_shows(value: float, after: nn.Module) -> None:
    conv, x = layer(16, 8), features(1, 16, 16, 16)
    x[0, 5, 6, 7] = value
    y = kernel.convolve(x, kernel.pack_weights(conv, activation_of(after)))
    assert not y[0, 4:7, 5:8].isfinite().any()
    assert y[0, 10:].isfinite().all()


@needs_kernel
def test_other_layers_are_not_taken() -> None:
    x = features(1, 8, 8, 16)
    for options in (
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 3, "padding": 0},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
    ):
        assert not kernel.can_run(x, nn.Conv2d(16, 16, **options).requires_grad_(False))
    assert not kernel.can_run(features(1, 8, 8, 3), layer(3, 16))
    assert not kernel.can_run(x.double(), layer(16, 16))
    assert not kernel.can_run(x, layer(16, 16).requires_grad_())
    with torch.no_grad():
        assert kernel.can_run(x, layer(16, 16).requires_grad_())
