"""The compiled depthwise convolution of rows in several pieces against PyTorch's of all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from supertile.arch import VapSR, VapSRConfig
from supertile.arch.strips import Job, joined
from supertile.kernels import depthwise as kernel
from torch import Tensor, nn


def convolution(channels: int, dilation: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, 5, padding=2 * dilation, dilation=dilation, groups=channels)
    return conv.requires_grad_(False)


needs_kernel = pytest.mark.skipif(not kernel.available(convolution(16, 1)), reason="no kernel can be compiled here")


@needs_kernel
@pytest.mark.parametrize("channels", [16, 64, 80])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("width", [1, 5, 13, 20, 70, 150])
def test_pieces_give_what_the_whole_gives(channels: int, dilation: int, width: int) -> None:
    torch.manual_seed(0)
    conv = convolution(channels, dilation)
    x, factor = torch.randn(2, 2, 17, width, channels)
    none = x.new_zeros(2, 2 * dilation, width, channels)
    pieces = [none, x[:, :3], x[:, 3:4], x[:, 4:], none]
    expected = conv.double()(x.double().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    conv.float()
    assert (kernel.depthwise(pieces, conv) - expected).abs().max() < 1e-5
    scaled = kernel.depthwise(pieces, conv, [factor[:, :9], factor[:, 9:]])
    assert (scaled - expected * factor).abs().max() < 2e-5


@needs_kernel
def test_kernel_is_not_offered_what_it_cannot_take() -> None:
    assert not kernel.available(nn.Conv2d(16, 16, 5, padding=2))
    assert not kernel.available(convolution(8, 1))
    assert not kernel.available(nn.Conv2d(16, 16, 3, padding=1, groups=16).requires_grad_(False))
    assert not kernel.available(convolution(16, 1).bfloat16())
    assert not kernel.available(convolution(16, 1), torch.zeros(1, requires_grad=True))


@needs_kernel
@pytest.mark.parametrize("rows", [1, 5, 16])
def test_strips_of_a_network_are_the_same_with_and_without_the_kernel(
    rows: int, monkeypatch: pytest.MonkeyPatch, randomised: Callable
) -> None:
    network = randomised(VapSR(VapSRConfig(scale=2, num_blocks=3)))
    image = torch.rand(2, 3, 37, 29)

    def result() -> Tensor:
        job = Job(rows)
        return joined(network.strips(image, job), job)

    with torch.no_grad():
        with_kernel = result()
        monkeypatch.setattr(kernel, "available", lambda *given: False)
        without = result()
    assert not torch.equal(with_kernel, without)  # or the kernel was not used
    assert (with_kernel - without).abs().max() < 1e-5
