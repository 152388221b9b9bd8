"""The compiled gradient of depthwise weights against PyTorch's in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from supertile.kernels.cpu import depthwise_gradient as kernel

needs_kernel = pytest.mark.skipif(not kernel.supports(16, torch.float32), reason="no kernel can be compiled here")


@needs_kernel
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize(("batch", "height", "width", "channels"), [(2, 9, 11, 32), (1, 1, 1, 16), (3, 20, 2, 64)])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_kernel_computes_the_gradient(
    batch: int, height: int, width: int, channels: int, dilation: int, threads: int
) -> None:
    torch.manual_seed(0)
    x, gradient = torch.randn(2, batch, height, width, channels)
    padded = F.pad(x, (0, 0) + (2 * dilation,) * 4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = kernel.depthwise_gradient(padded, gradient, dilation)
    finally:
        torch.set_num_threads(before)
    expected = torch.nn.grad.conv2d_weight(
        x.double().permute(0, 3, 1, 2), (channels, 1, 5, 5), gradient.double().permute(0, 3, 1, 2),
        padding=2 * dilation, dilation=dilation, groups=channels,
    )  # fmt: skip
    assert (y - expected.flatten(1).t()).abs().max() < 2e-5


def test_kernel_leaves_to_pytorch_what_it_cannot_take() -> None:
    assert not kernel.supports(24, torch.float32)
    assert not kernel.supports(32, torch.float64)
