"""VapSR's forward pass for a training equals the network's own, and so do its gradients."""

from __future__ import annotations

import pytest
import torch
from supertile.training import vapsr
from supertile.training.networks import build


@pytest.mark.parametrize(
    ("scale", "sizes"),
    [
        (2, {"num_feat": 32, "num_blocks": 2, "attention_dim": 64, "conv_groups": 2}),
        (3, {"num_feat": 16, "num_blocks": 1, "attention_dim": 16}),
        (4, {"num_feat": 48, "num_blocks": 1, "attention_dim": 64}),
    ],
)
def test_results_and_gradients_are_the_networks_own(scale, sizes):
    torch.manual_seed(0)
    net = build("VapSR", {**sizes, "scale": scale}, seed=0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    image, upstream = torch.rand(3, 3, 11, 14), torch.randn(3, 3, 11 * scale, 14 * scale)
    if not vapsr.supports(net, image):
        pytest.skip("nothing can be compiled here")
    expected, result = net(image), vapsr.forward(net, image)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)
    parameters = list(net.parameters())
    for mine, own in zip(
        torch.autograd.grad(result, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, own, atol=2e-5 * float(own.abs().max()), rtol=1e-4)


def test_other_widths_and_types_are_left_to_the_network():
    image = torch.rand(1, 3, 8, 8)
    narrow = build("VapSR", {"num_feat": 20, "num_blocks": 1, "attention_dim": 24}, seed=0)
    assert not vapsr.supports(narrow, image)
    fitting = build("VapSR", {"num_feat": 16, "num_blocks": 1, "attention_dim": 16}, seed=0)
    assert not vapsr.supports(fitting, image.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not vapsr.supports(fitting, image)
