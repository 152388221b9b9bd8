"""The faster gradients are PyTorch's own, and other convolutions are left alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from supertile.kernels.cpu import depthwise_gradient
from supertile.training.depthwise import FastDepthwise


@pytest.mark.parametrize("dilation", [1, 3])
def test_gradients_are_those_of_pytorch(dilation):
    if not depthwise_gradient.supports(32, torch.float32):
        pytest.skip("nothing can be compiled here")
    torch.manual_seed(0)
    x = torch.randn(2, 32, 9, 11).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(32, 1, 5, 5), torch.randn(32)
    upstream = torch.randn(2, 32, 9, 11)

    def gradients() -> list[torch.Tensor]:
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y = F.conv2d(*inputs, (1, 1), (2 * dilation,) * 2, (dilation,) * 2, 32)
        assert ("Depthwise" in type(y.grad_fn).__name__) == fast
        return list(torch.autograd.grad(y, inputs, upstream))

    fast = False
    expected = gradients()
    with FastDepthwise():
        fast = True
        for mine, theirs in zip(gradients(), expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_other_convolutions_are_left_alone():
    x = torch.randn(1, 16, 8, 8, requires_grad=True)
    with FastDepthwise():
        for weight, padding, groups in (
            (torch.randn(16, 1, 3, 3), 1, 16),
            (torch.randn(16, 16, 5, 5), 2, 1),
            (torch.randn(16, 1, 5, 5), 0, 16),
        ):
            y = F.conv2d(x, weight, None, (1, 1), (padding, padding), (1, 1), groups)
            assert "Depthwise" not in type(y.grad_fn).__name__
