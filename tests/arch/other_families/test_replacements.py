"""Networks of spandrel compute what they did before their attention and their dense blocks were ours."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable

import pytest
import torch
from spandrel.architectures.ATD import ATD
from spandrel.architectures.DAT import DAT
from spandrel.architectures.DRCT import DRCT
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.FDAT import FDAT
from spandrel.architectures.MoESR import MoESR
from spandrel.architectures.MoSR import MoSR
from spandrel.architectures.OmniSR import OmniSR
from spandrel.architectures.RGT import RGT
from spandrel.architectures.SCUNet import SCUNet
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.Swin2SR import Swin2SR
from spandrel.architectures.SwinIR import SwinIR
from supertile.arch.other_families import REPLACEMENTS, is_one_layer, use_kernels
from supertile.kernels.cpu import build
from torch import nn

RRDB = importlib.import_module("spandrel.architectures.MMRealSR.__arch.mmrealsr_arch").RRDB

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ATD": lambda: ATD(
        upscale=2, embed_dim=12, depths=(2, 2), num_heads=(2, 2), window_size=8, category_size=32, num_tokens=16,
        reducted_dim=4, upsampler="pixelshuffledirect",
    ),
    "ATD, shortest groups": lambda: ATD(
        upscale=2, embed_dim=12, depths=(2,), num_heads=(3,), window_size=4, category_size=10, num_tokens=16,
        reducted_dim=4, convffn_kernel_size=3, upsampler="pixelshuffledirect",
    ),
    "ATD, groups larger than an image": lambda: ATD(
        upscale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=8, category_size=300, num_tokens=16,
        reducted_dim=4, upsampler="pixelshuffledirect",
    ),
    "DAT": lambda: DAT(
        upscale=2, embed_dim=32, split_size=[4, 8], depth=[4, 2], num_heads=[4, 4], expansion_factor=2.0,
        upsampler="pixelshuffledirect",
    ),
    "DRCT": lambda: DRCT(
        upscale=2, embed_dim=12, depths=(6,), num_heads=(2,), window_size=8, gc=4, upsampler="pixelshuffle"
    ),
    "ESRGAN": lambda: ESRGAN(num_filters=16, num_blocks=2, scale=4),
    "ESRGAN for a smaller scale": lambda: ESRGAN(num_filters=24, num_blocks=1, scale=4, shuffle_factor=2, in_nc=12),
    "FDAT": lambda: FDAT(scale=2, embed_dim=24, num_groups=1, depth_per_group=2, num_heads=2, window_size=8),
    "MMRealSR": lambda: nn.Sequential(nn.Conv2d(3, 16, 1), RRDB(16, 8), RRDB(16, 8)),
    "MoESR": lambda: MoESR(dim=24, n_blocks=1, n_block=2, scale=2),
    "MoSR": lambda: MoSR(dim=24, n_block=2, upscale=2),
    "MoSR, half of whose channels are convolved again": lambda: MoSR(
        dim=16, n_block=2, upscale=2, conv_ratio=0.5, drop_path=0.3
    ),
    "OmniSR": lambda: OmniSR(num_feat=16, res_num=1, up_scale=2),
    "OmniSR without position biases": lambda: OmniSR(num_feat=16, res_num=1, up_scale=2, pe=False),
    "RGT": lambda: RGT(upscale=2, embed_dim=32, split_size=[4, 8], depth=[4, 2], num_heads=[4, 4], c_ratio=0.5),
    "SCUNet": lambda: SCUNet(config=[2] * 7, dim=64, drop_path_rate=0),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
    "Swin2SR": lambda: Swin2SR(
        upscale=2, embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upsampler="pixelshuffledirect"
    ),
    "SwinIR": lambda: SwinIR(
        upscale=2, img_size=16, window_size=8, depths=[2, 2], embed_dim=12, num_heads=[2, 2], mlp_ratio=2,
        upsampler="pixelshuffledirect",
    ),
    "SwinIR trained on images of a window": lambda: SwinIR(
        upscale=2, img_size=8, window_size=8, depths=[2], embed_dim=12, num_heads=[2], qkv_bias=False
    ),
}  # fmt: skip


def made(name: str) -> nn.Module:
    """A network in which every weight counts; biases of positions are zero when they are new."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.dim() != 1 and parameter.abs().max() < 0.2:
            nn.init.normal_(parameter, std=0.1)
        elif parameter.dim() == 1:
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def with_kernels(network: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    use_kernels(changed)
    assert any(is_one_layer(layer) for layer in changed.modules())
    return changed


def test_every_replacement_is_made_and_tested() -> None:
    tested = set()
    for name in NETWORKS:
        kinds = {type(layer) for layer in with_kernels(made(name)).modules()}
        for layer in made(name).modules():
            kind = f"{type(layer).__module__}.{type(layer).__qualname__}".removeprefix("spandrel.architectures.")
            replacement = REPLACEMENTS[kind](layer) if kind in REPLACEMENTS else layer
            if replacement is not layer:
                assert type(replacement) in kinds
                tested.add(kind)
    assert tested == set(REPLACEMENTS)


@pytest.mark.parametrize("kernels", ["C", "PyTorch"])
@pytest.mark.parametrize("size", [(32, 48), (29, 17), (16, 16)])
@pytest.mark.parametrize("name", NETWORKS)
def test_results_stay(monkeypatch, name: str, size: tuple[int, int], kernels: str) -> None:
    if name == "DRCT":  # which takes whole windows
        size = size[0] // 8 * 8, size[1] // 8 * 8
    if name == "SCUNet":  # which mirrors up to multiples of 64
        size = size[0] + 24, size[1] + 24
    network = made(name)
    changed = with_kernels(network)
    if kernels == "PyTorch":
        monkeypatch.setattr(build, "load", lambda *_: None)
    image = torch.rand(2, 3, *size)
    with torch.inference_mode():
        expected, result = network(image), changed(image)
    assert (result - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("ATD", "attn_win.relative_position_bias_table"),
        ("ATD", "attn_aca.logit_scale"),
        ("DAT", "attn.qkv.weight"),
        ("DRCT", "relative_position_bias_table"),
        ("ESRGAN", "RDB2.conv3.0.weight"),
        ("FDAT", "attn.bias"),
        ("OmniSR", "rel_pos_bias.weight"),
        ("SCUNet", "relative_position_params"),
        ("Swin2SR", "logit_scale"),
        ("SwinIR", "relative_position_bias_table"),
    ],
)
def test_what_is_no_number_shows(name: str, parameter: str) -> None:
    """So that a damaged file is told from a whole one."""
    network = made(name)
    damaged = next(tensor for path, tensor in network.named_parameters() if path.endswith(parameter))
    damaged.view(-1)[0] = torch.nan
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert not network(image).isfinite().all()
        assert not with_kernels(network)(image).isfinite().all()


def test_dense_blocks_with_other_layers_stay() -> None:
    """ESRGAN+ adds to the features of a block."""
    network = ESRGAN(num_filters=16, num_blocks=1, scale=4, plus=True).eval()
    use_kernels(network)
    assert not any(is_one_layer(layer) for layer in network.modules())


@pytest.mark.parametrize(("scale", "is_replaced"), [(10, True), (100, False)])
def test_a_mask_that_lets_something_through_is_kept(scale: float, is_replaced: bool) -> None:
    """Swin2SR's cosines, scaled by 100, are as large as its mask; flat halves make them 1 and -1."""
    network = made("Swin2SR")
    for each in network.modules():
        if hasattr(each, "logit_scale"):
            each.logit_scale.fill_(math.log(scale))
    changed = with_kernels(network)
    _, shifted = changed.layers[0].residual_group.blocks
    assert is_one_layer(shifted) is is_replaced
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, :16] = 1
    with torch.inference_mode():
        expected, result = network(image), changed(image)
    assert (result - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", ["ESRGAN", "SwinIR"])
def test_gradients_stay(name: str) -> None:
    """For attribution maps."""
    network = made(name)
    gradients = []
    for each in (network, with_kernels(network)):
        image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        each(image)[..., 12:20, 12:20].abs().sum().backward()
        gradients.append(image.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["DAT", "ESRGAN"])
def test_a_copy_follows_its_own_weights(name: str) -> None:
    """Recompute biases and packed weights when the weights of a copy change."""
    network = with_kernels(made(name))
    image = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        before = network(image)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter *= 1.1
    with torch.inference_mode():
        assert not torch.allclose(other(image), before)
        assert torch.equal(network(image), before)


@pytest.mark.parametrize("name", ["MoSR", "MoESR"])
@pytest.mark.parametrize("change", ["in place", "data", "copy", "load"])
def test_convolutions_in_two_parts_have_the_weights_of_one(name: str, change: str) -> None:
    changed, image = with_kernels(made(name)), torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        changed(image)
    if change == "copy":
        changed = copy.deepcopy(changed)
    parameters = dict(changed.named_parameters())
    assert not any("_parts" in key for key in parameters)
    if change == "load":
        changed.load_state_dict({key: 1.05 * value for key, value in changed.state_dict().items()})
    for parameter in parameters.values():
        if change == "data":
            parameter.data = 1.05 * parameter
        elif change != "load":
            parameter.mul_(1.05)
    with torch.inference_mode():
        result = changed(image)
    expected = changed(image)  # while gradients are recorded, by PyTorch
    assert (result - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))
