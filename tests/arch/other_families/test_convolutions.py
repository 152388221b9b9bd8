"""Networks of spandrel compute what they did before their convolutions were ours."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import PLKSR, RealPLKSR
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from supertile.arch.other_families.convolutions import Convolution, has_kernels, use_kernels
from torch import nn

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "Compact": lambda: Compact(num_feat=16, num_conv=3, upscale=2),
    "ESRGAN": lambda: ESRGAN(num_filters=16, num_blocks=1, scale=4),
    "RCAN": lambda: RCAN(scale=2, n_resgroups=1, n_resblocks=2, n_feats=16, reduction=4),
    "PLKSR": lambda: PLKSR(dim=32, n_blocks=2, upscaling_factor=2),
    "RealPLKSR": lambda: RealPLKSR(dim=32, n_blocks=2, upscaling_factor=2),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
    "SwinIR": lambda: SwinIR(upscale=2, img_size=16, window_size=8, depths=[2], embed_dim=12, num_heads=[2]),
}
needs_kernel = pytest.mark.skipif(not has_kernels(), reason="no kernel can be compiled here")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def ours_in(network: nn.Module) -> list[Convolution]:
    return [layer for layer in network.modules() if isinstance(layer, Convolution)]


@needs_kernel
@pytest.mark.parametrize("name", NETWORKS)
def test_results_stay(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for layer in network.modules():
        if isinstance(layer, nn.PReLU):
            layer.weight.copy_(torch.rand_like(layer.weight))
    changed = copy.deepcopy(network)
    use_kernels(changed)
    assert ours_in(changed)
    image = torch.rand(2, 3, 24, 32)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = image.clone(memory_format=layout)  # RCAN writes to its input
        expected, result = network(given.clone()), changed(given.clone())
        assert (result - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


@needs_kernel
@pytest.mark.parametrize(
    ("activation", "is_taken_over"),
    [
        *((nn.ReLU(), True), (nn.LeakyReLU(0.1), True), (nn.PReLU(16, 0.3), True), (nn.PReLU(), True)),
        *((nn.GELU(), True), (nn.SiLU(), True), (nn.Mish(), True), (nn.Sigmoid(), True)),
        *((nn.GELU("tanh"), False), (nn.Tanh(), False)),
    ],
)
def test_an_activation_becomes_part_of_the_convolution(activation: nn.Module, is_taken_over: bool) -> None:
    network = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), activation).eval()
    x = torch.randn(1, 16, 9, 9)
    expected = network(x)
    use_kernels(network)
    assert isinstance(network[1], nn.Identity) is is_taken_over
    assert (network(x) - expected).abs().max() < 1e-5
    with torch.enable_grad():  # for an attribution map, PyTorch computes
        y = network(x.requires_grad_())
        y.sum().backward()
    assert (y - expected).abs().max() < 1e-5
    assert x.grad is not None


@needs_kernel
def test_large_kernels_have_one_of_their_own() -> None:
    network = NETWORKS["RealPLKSR"]()
    use_kernels(network)
    assert [layer.kernel_size for layer in ours_in(network)].count((17, 17)) == 2


@needs_kernel
def test_in_bf16_pytorch_computes() -> None:
    network = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.LeakyReLU(0.1)).eval()
    x = torch.randn(1, 16, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(x)
        use_kernels(network)
        result = network(x)
    assert result.dtype == torch.bfloat16
    assert (result - expected).abs().max() < 1e-2


@needs_kernel
def test_new_weights_are_used() -> None:
    network = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1)).eval()
    use_kernels(network)
    x = torch.randn(1, 16, 9, 9)
    before = network(x)
    network[0].weight.mul_(2)
    network[0].bias.mul_(2)
    torch.testing.assert_close(network(x), 2 * before)
    network.load_state_dict({name: tensor / 2 for name, tensor in network.state_dict().items()})
    torch.testing.assert_close(network(x), before)


@needs_kernel
def test_layers_of_other_kinds_stay_as_they_are() -> None:
    class Own(nn.Conv2d):
        pass

    network = nn.Sequential(nn.Conv2d(16, 16, 1), Own(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, 2, 1))
    use_kernels(network)
    assert not ours_in(network)


def test_without_kernels_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERTILE_KERNELS", "off")
    monkeypatch.setattr("supertile.kernels.cpu.build._loaded", {})
    network = NETWORKS["Compact"]().eval()
    use_kernels(network)
    assert not ours_in(network)
    assert not has_kernels()
