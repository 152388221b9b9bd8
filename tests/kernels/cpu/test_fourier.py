"""The compiled convolution in the frequency domain against PyTorch's in double precision."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from supertile.kernels import ops
from supertile.kernels.activations import Activation, Kind, activation_of
from supertile.kernels.cpu import build
from supertile.kernels.cpu import fourier as kernel
from torch import Tensor, nn

needs_kernel = pytest.mark.skipif(
    build.load("fourier", kernel.SIGNATURES) is None, reason="no kernel can be compiled here"
)


def layer(inputs: int, outputs: int, kernel_size: tuple[int, int] = (17, 17), bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, kernel_size, padding="same", bias=bias).requires_grad_(False)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def exact(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C) fp64."""
    bias = None if conv.bias is None else conv.bias.double()
    padding = conv.kernel_size[0] // 2, conv.kernel_size[1] // 2
    return F.conv2d(x.double().permute(0, 3, 1, 2), conv.weight.double(), bias, padding=padding).permute(0, 2, 3, 1)


@needs_kernel
@pytest.mark.parametrize("kernel_size", [(17, 17), (9, 9), (21, 5), (7, 19), (13, 21)])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 3), (16, 16), (17, 33)])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (40, 70)])
def test_it_is_the_convolution(inputs: int, outputs: int, kernel_size: tuple[int, int], size: tuple[int, int]) -> None:
    conv, x = layer(inputs, outputs, kernel_size), features(2, *size, inputs)
    assert kernel.can_run(x, conv)
    y = kernel.convolve(x, kernel.pack_weights(conv))
    assert y.shape == (2, *size, outputs)
    assert (y - exact(x, conv)).abs().max() < 5e-6


@needs_kernel
def test_it_is_more_exact_than_pytorch() -> None:
    conv, x = layer(16, 16), features(1, 64, 64, 16)
    expected = exact(x, conv)
    ours = kernel.convolve(x, kernel.pack_weights(conv)) - expected
    theirs = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) - expected
    assert ours.square().mean() < theirs.square().mean()
    assert ours.abs().max() < 1e-6 * expected.abs().max()


@needs_kernel
def test_without_a_bias_and_with_an_activation() -> None:
    conv, x = layer(16, 24, bias=False), features(1, 20, 30, 16)
    slopes = torch.linspace(-1, 1, 24)
    y = kernel.convolve(x, kernel.pack_weights(conv, Activation(Kind.LEAKY, slopes)))
    expected = F.prelu(exact(x, conv).permute(0, 3, 1, 2), slopes.double()).permute(0, 2, 3, 1)
    assert (y - expected).abs().max() < 5e-6
    y = kernel.convolve(x, kernel.pack_weights(conv, activation_of(nn.Mish())))
    assert (y - F.mish(exact(x, conv))).abs().max() < 5e-6


@needs_kernel
def test_rows_above_and_below_may_be_given() -> None:
    conv, x = layer(16, 8, (13, 9)), features(2, 40, 20, 16)
    y = kernel.convolve(x, kernel.pack_weights(conv), rows_padded=False)
    assert y.shape == (2, 28, 20, 8)
    assert (y - exact(x, conv)[:, 6:-6]).abs().max() < 5e-6


@needs_kernel
def test_views_are_read_and_written_as_what_they_show() -> None:
    conv, whole = layer(16, 8), features(3, 22, 34, 40)
    weights = kernel.pack_weights(conv)
    for view in (whole[1:, 2:19, 3:, 8:24], whole[..., ::2][..., :16], whole.transpose(1, 2)[..., :16]):
        assert torch.equal(kernel.convolve(view, weights), kernel.convolve(view.contiguous(), weights))
    assert kernel.convolve(whole[:, :0, :, :16], weights).shape == (3, 0, 34, 8)
    before, place = whole.clone(), (slice(1, 3), slice(2, 19), slice(3, 30), slice(20, 28))
    expected = kernel.convolve(whole[1:, 2:19, 3:30, :16], weights)
    assert torch.equal(kernel.convolve(whole[1:, 2:19, 3:30, :16], weights, out=whole[place]), expected)
    assert torch.equal(whole[place], expected)
    whole[place] = before[place]
    assert torch.equal(whole, before)  # nothing else was written


@needs_kernel
def test_the_number_of_threads_changes_nothing(with_threads: Callable) -> None:
    conv, x = layer(16, 16), features(3, 50, 60, 16)
    weights = kernel.pack_weights(conv)
    results = with_threads(lambda: kernel.convolve(x, weights))
    assert all(torch.equal(results[0], each) for each in results[1:])


@needs_kernel
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_shows(value: float) -> None:
    conv, x = layer(16, 8), features(1, 80, 80, 16)
    x[0, 25, 26, 7] = value
    y = kernel.convolve(x, kernel.pack_weights(conv))
    assert not y[0, 17:34, 18:35].isfinite().any()
    assert y[0, 64:].isfinite().all()


@needs_kernel
@pytest.mark.parametrize("size", [(16, 16), (16, 40), (50, 50)])
def test_images_of_a_batch_do_not_see_each_other(size: tuple[int, int]) -> None:
    """They have an odd number of tiles."""
    conv, x = layer(16, 8), features(3, *size, 16)
    weights = kernel.pack_weights(conv)
    expected = kernel.convolve(x, weights)
    x[1] = float("nan")
    y = kernel.convolve(x, weights)
    assert torch.equal(y[::2], expected[::2])
    assert y[1].isnan().all()


@needs_kernel
def test_other_layers_are_not_taken() -> None:
    x = features(1, 40, 40, 16)
    for options in (
        {"kernel_size": 7, "padding": 3},
        {"kernel_size": 23, "padding": 11},
        {"kernel_size": 16, "padding": 8},
        {"kernel_size": 17, "padding": 0},
        {"kernel_size": 17, "padding": 8, "stride": 2},
        {"kernel_size": 17, "padding": 8, "groups": 16},
        {"kernel_size": 17, "padding": 8, "padding_mode": "reflect"},
        {"kernel_size": 9, "padding": 8, "dilation": 2},
    ):
        assert not kernel.can_run(x, nn.Conv2d(16, 16, **options).requires_grad_(False))
    assert not kernel.can_run(features(1, 40, 40, 3), layer(3, 16))
    assert not kernel.can_run(x.double(), layer(16, 16))
    assert not kernel.can_run(x, layer(16, 16).requires_grad_())


@needs_kernel
def test_what_is_kept_for_a_layer_goes_with_it() -> None:
    conv, x = layer(16, 16), features(1, 20, 20, 16)
    ops.conv2d(x, conv)
    gone = weakref.ref(conv)
    del conv
    gc.collect()
    assert gone() is None
