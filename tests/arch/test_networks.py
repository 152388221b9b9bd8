"""What every network promises: any size from 1x1, no state but its weights, gradients, half precision."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.arch.layers import linear, reflected_index

HAT_TINY = HATConfig(
    scale=2, embed_dim=12, depths=(2, 1), num_heads=(2, 3), window_size=4, overlap_window=6, compress_dim=4,
    squeeze_dim=3, mlp_dim=16, oca_mlp_dim=20, num_feat=8,
)  # fmt: skip
HIT_TINY = {
    "scale": 2, "embed_dim": 20, "depths": (3, 1), "num_heads": (2, 5), "base_window": (4, 4),
    "window_ratios": (0.5, 1, 2), "mlp_dim": 24, "num_feat": 8,
}  # fmt: skip
BUILD = {
    "HAT": lambda: HAT(HAT_TINY),
    "SIR": lambda: HiTSR(HiTSRConfig(variant="SIR", **HIT_TINY)),
    "SNG": lambda: HiTSR(HiTSRConfig(variant="SNG", **{**HIT_TINY, "num_heads": (2, 1)})),
    "SRF": lambda: HiTSR(HiTSRConfig(variant="SRF", **HIT_TINY)),
    "none": lambda: HiTSR(HiTSRConfig(variant="SIR", **{**HIT_TINY, "scale": 1, "upsampler": ""})),
    "VapSR": lambda: VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=2, attention_dim=12)),
    "VapSR x4": lambda: VapSR(VapSRConfig(scale=4, num_feat=8, num_blocks=1, attention_dim=12, conv_groups=2)),
}

ONE_BLOCK = r"^(layers\.0\.residual_group\.(blocks\.1\.(attn|correlation)|overlap_attn)|body\.0)\."

every_network = pytest.mark.parametrize("name", list(BUILD))


@pytest.fixture(scope="module")
def network(randomized):
    built = {}

    def get(name: str):
        if name not in built:
            built[name] = randomized(BUILD[name]())
        return built[name]

    return get


@every_network
@torch.inference_mode()
def test_any_size_is_enlarged_exactly(network, name):
    net = network(name)
    scale = net.config.scale

    @settings(max_examples=12, deadline=None)
    @given(height=st.integers(1, 27), width=st.integers(1, 27))
    def check(height: int, width: int) -> None:
        output = net(torch.rand(1, 3, height, width))
        assert output.shape == (1, 3, scale * height, scale * width)
        assert output.is_contiguous()
        assert torch.isfinite(output).all()

    check()


@every_network
@pytest.mark.parametrize("size", [(1, 1), (1, 23), (23, 1), (2, 2), (5, 17)])
@torch.inference_mode()
def test_extreme_sizes_are_enlarged_exactly(network, name, size):
    output = network(name)(torch.rand(2, 3, *size))
    assert output.shape[2:] == tuple(network(name).config.scale * side for side in size)
    assert torch.isfinite(output).all()


@torch.inference_mode()
def test_hat_is_the_mirrored_image_of_whole_windows_cropped(network):
    net = network("HAT")

    @settings(max_examples=15, deadline=None)
    @given(height=st.integers(1, 21), width=st.integers(1, 21))
    def check(height: int, width: int) -> None:
        image = torch.rand(1, 3, height, width)
        rows = reflected_index(height, -(-height // 4) * 4)
        columns = reflected_index(width, -(-width // 4) * 4)
        whole = net(image[:, :, rows][..., columns])[..., : 2 * height, : 2 * width]
        torch.testing.assert_close(net(image), whole, atol=1e-6, rtol=1e-6)

    check()


@given(size=st.integers(1, 12), extra=st.integers(0, 40))
@settings(deadline=None)
def test_reflection_is_repeated_reflect_padding(size, extra):
    signal = torch.arange(size).float()[None]
    while signal.shape[1] < size + extra:
        step = min(extra + size - signal.shape[1], signal.shape[1] - 1)
        if size == 1:
            signal = torch.zeros(1, size + extra)
        else:
            signal = torch.nn.functional.pad(signal, (0, step), mode="reflect")
    assert reflected_index(size, size + extra).tolist() == signal[0].long().tolist()


@every_network
@torch.inference_mode()
def test_layout_and_dtype_of_the_input_do_not_matter(network, name):
    net, image = network(name), torch.rand(2, 3, 9, 10)
    expected = net(image)
    torch.testing.assert_close(net(image.contiguous(memory_format=torch.channels_last)), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(net(image.flip(3).flip(3)[..., ::1]), expected, atol=1e-6, rtol=0)
    untouched = image.clone()
    net(image)
    assert torch.equal(image, untouched)
    half = net(image.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.1, rtol=0.05)


# --- constants ---------------------------------------------------------------------------------------------------


def perturb(net: torch.nn.Module) -> None:
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))


@every_network
@pytest.mark.parametrize("way", ["load", "assign", "assign twice", "in place", "one at a time", "data"])
@torch.no_grad()
def test_constants_follow_the_weights(network, name, way):
    net, image = copy.deepcopy(network(name)), torch.rand(1, 3, 9, 10)
    before = net(image)
    other = copy.deepcopy(net)
    perturb(other)
    if way == "load":
        net.load_state_dict(other.state_dict())
    elif way.startswith("assign"):
        for _ in range(1 + way.endswith("twice")):
            perturb(other)
            net.load_state_dict({n: t.clone() for n, t in other.state_dict().items()}, assign=True)
    elif way == "data":
        for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
            mine.data = theirs.clone()
    else:
        for each, mine in net.named_parameters():
            mine.copy_(other.get_parameter(each))
            if way == "one at a time" and re.search(ONE_BLOCK, each):
                fresh = copy.deepcopy(net)  # a constant may not overlook one of the tensors it comes from
                torch.testing.assert_close(net(image), fresh(image), atol=0, rtol=0)
    after = net(image)
    torch.testing.assert_close(after, copy.deepcopy(other)(image), atol=1e-6, rtol=1e-6)
    assert (after - before).abs().max() > 1e-3


@every_network
@torch.no_grad()
def test_rounding_to_half_and_back_is_noticed(network, name):
    net, image = copy.deepcopy(network(name)), torch.rand(1, 3, 9, 10)
    for _ in range(3):
        net(image)
        net.bfloat16().float()  # memory of the same size is handed out again here, with other values
        torch.testing.assert_close(net(image), copy.deepcopy(net)(image), atol=0, rtol=0)
        perturb(net)


@every_network
def test_constants_made_in_inference_mode_do_not_spoil_later_gradients(network, name):
    net, image = copy.deepcopy(network(name)), torch.rand(1, 3, 9, 10, requires_grad=True)
    with torch.inference_mode():
        net(image)
    net(image).sum().backward()
    assert image.grad is not None


@every_network
def test_constants_are_not_part_of_the_state(network, name):
    net = copy.deepcopy(network(name))
    names, size = list(net.state_dict()), len(list(net.buffers()))
    with torch.no_grad():
        expected = net(torch.rand(1, 3, 9, 10, generator=torch.Generator().manual_seed(1)))
        copied = copy.deepcopy(net)
        again = copied(torch.rand(1, 3, 9, 10, generator=torch.Generator().manual_seed(1)))
    assert list(net.state_dict()) == names == list(dict(net.named_parameters()))
    assert len(list(net.buffers())) == size == 0
    assert list(copied.state_dict()) == names
    assert torch.equal(expected, again)


# --- gradients ---------------------------------------------------------------------------------------------------


@every_network
def test_gradients_match_finite_differences(network, name):
    net = copy.deepcopy(network(name)).train().requires_grad_(True)
    image = torch.rand(1, 3, 7, 6, requires_grad=True)
    goal = torch.randn(net(image).shape)
    (net(image) * goal).sum().backward()
    missing = [n for n, p in net.named_parameters() if p.grad is None]
    assert missing == []

    # Along the gradient of each tensor, each entry weighted at random: a slope to which everything adds.
    generator = torch.Generator().manual_seed(3)
    tensors = [image, *net.parameters()]
    direction = [t.grad * torch.rand(t.shape, generator=generator) / (t.grad.norm() + 1e-9) for t in tensors]
    slope = sum((t.grad.double() * d).sum() for t, d in zip(tensors, direction, strict=True))
    step, values = 1e-4, []
    with torch.no_grad():
        start = [t.detach().clone() for t in tensors]
        for sign in (1, -1):
            for t, s, d in zip(tensors, start, direction, strict=True):
                t.copy_(s + sign * step * d)
            values.append((net(image).double() * goal).sum())
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), slope, atol=0.0, rtol=0.01)


@every_network
def test_every_single_tensor_gets_the_gradient_it_gets_among_all(network, name):
    """Freezing the others may not turn a tensor into a constant."""
    net = copy.deepcopy(network(name)).requires_grad_(True)
    image = torch.rand(1, 3, 6, 5)
    net(image).square().sum().backward()
    together = {n: p.grad.clone() for n, p in net.named_parameters()}
    # Some gradients are nothing but rounding: what is added to all channels before a norm changes nothing.
    rounding = 1e-5 * max(1, *(gradient.abs().max().item() for gradient in together.values()))
    for each, parameter in net.named_parameters():
        if not re.search(ONE_BLOCK, each):
            continue
        net.requires_grad_(False)
        parameter.requires_grad_(True)
        parameter.grad = None
        output = net(image)
        assert output.requires_grad, each
        output.square().sum().backward()
        scale = together[each].abs().max().item()
        torch.testing.assert_close(parameter.grad, together[each], atol=1e-4 * scale + rounding, rtol=1e-3, msg=each)


@every_network
def test_training_and_inference_give_the_same(network, name):
    net, image = copy.deepcopy(network(name)).requires_grad_(True), torch.rand(1, 3, 9, 10)
    recorded = net.train()(image)
    with torch.inference_mode():
        torch.testing.assert_close(net.eval()(image), recorded.detach(), atol=3e-6, rtol=1e-6)


# --- precision ---------------------------------------------------------------------------------------------------


@every_network
@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 40.0), (torch.bfloat16, 25.0)])
@torch.inference_mode()
def test_the_whole_network_in_half_precision_stays_near_fp32(network, name, dtype, least):
    net, image = network(name), torch.rand(1, 3, 17, 14)
    exact = net(image)
    half = copy.deepcopy(net).to(dtype)(image.to(dtype))
    assert half.dtype == dtype
    assert torch.isfinite(half).all()
    error = (half.float() - exact).square().mean()
    spread = exact.var()
    assert 10 * torch.log10(spread / error) > least


@torch.inference_mode()
def test_double_precision_weights_are_used_as_they_are(network):
    net, image = network("VapSR"), torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(copy.deepcopy(net).double()(image), net(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (3, 0, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_linear(shape, bias):
    layer = torch.nn.Linear(5, 7, bias=bias)
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, layer.weight, layer.bias), layer(x), atol=1e-6, rtol=1e-5)


def test_a_constant_of_the_config_mean_is_subtracted_and_added(randomized):
    plain, other = (
        HiTSR(HiTSRConfig(variant="SIR", **{**HIT_TINY, "scale": 1, "upsampler": "", "mean": mean}))
        for mean in (None, (0.5,))
    )
    randomized(plain)
    other.load_state_dict(plain.state_dict())
    other.requires_grad_(False)
    image = torch.rand(1, 3, 8, 8)
    shift = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1) - 0.5
    torch.testing.assert_close(other(image - shift), plain(image) - shift, atol=1e-5, rtol=1e-5)
