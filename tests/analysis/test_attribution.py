"""Local attribution maps: they add up to what the objective changes by, and blocks that compute anew change nothing."""

from __future__ import annotations

import itertools

import pytest
import torch
from supertile.analysis import gradients
from supertile.analysis.attribution import Patch, attribute, blur_path, edges, gauss_legendre, gini
from supertile.analysis.gradients import Differentiable
from supertile.arch import HAT, HATConfig, VapSR, VapSRConfig
from supertile.inference import Cancelled, UpscaleError
from supertile.weights.loader import load_model
from torch import Tensor, nn


def smooth(height: int, width: int, channels: int = 3) -> Tensor:
    """An image with waves and an edge, something to blur."""
    y, x = torch.meshgrid(torch.arange(height) / 7, torch.arange(width) / 5, indexing="ij")
    waves = [0.5 + 0.2 * torch.sin(3 * x + c) * torch.cos(2 * y) + 0.2 * (x > y + 2) for c in range(channels)]
    return torch.stack(waves)


def on_cpu(model, **options) -> Differentiable:
    return Differentiable(model, device="cpu", **options)


# --- what attributions are ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crop(image_pairs, read_rgb) -> Tensor:
    return read_rgb(image_pairs("Set14", 4)[0][0])[:, 20:68, 20:68]


@pytest.mark.parametrize("name", ["VapSR-S.pth", "hat_tiny_w8_x2", "hit_sir_x2"])
def test_attributions_add_up_to_the_change_of_the_objective(official_vapsr, golden_case, crop, name):
    path = official_vapsr(name) if name.endswith("pth") else golden_case(name).path
    # Random weights hardly answer to a blur: of HiT-SR a larger patch, where the change is more than rounding.
    patch = Patch(16, 16, 12) if name == "hit_sir_x2" else None
    found = attribute(on_cpu(load_model(path)), crop, patch)
    assert abs(found.after - found.before) > 1
    assert found.signed.double().sum().item() == pytest.approx(found.after - found.before, rel=0.02)
    assert found.completeness == pytest.approx(1, abs=0.02)


class Quadratic(nn.Module):
    """Its two results: the image, and its square plus the pixel to the right; so that D is known by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x.square() * self.one + x.roll(-1, 3)


def test_an_attribution_is_what_its_pixel_adds_along_the_path(described):
    """Against sums over ten thousand small steps of the path, in which one pixel moves at a time."""
    network, image, patch = Quadratic(), smooth(9, 9).double(), Patch(3, 3, 2)

    def objective(x: Tensor) -> float:
        larger = network(x[None].float())[0].double()
        value = 0.0
        for c, y, x in itertools.product(range(3), (3, 4), (3, 4)):
            down, right = larger[c, y + 1, x] - larger[c, y, x], larger[c, y, x + 1] - larger[c, y, x]
            value += float((down**2 + right**2).sqrt())
        return value

    found = attribute(on_cpu(described(network, scale=1)), image.float(), patch, steps=48)
    for c, y, x in [(0, 3, 3), (1, 4, 5), (2, 5, 4)]:
        total, count = 0.0, 60
        for i in range(count):
            (before, _), (after, _) = (blur_path(image, a / count, 1.2) for a in (i, i + 1))
            middle = ((before + after) / 2).clone()
            ends = []
            for step in (-0.01, 0.01):  # the derivative by this pixel, from differences
                moved = middle.clone()
                moved[c, y, x] += step
                ends.append(objective(moved))
            total += (ends[1] - ends[0]) / 0.02 * float(after[c, y, x] - before[c, y, x])
        assert found.signed[c, y, x].item() == pytest.approx(total, abs=0.002, rel=0.02)
    assert found.after == pytest.approx(objective(image), rel=1e-5)
    far = found.signed[:, 7:, :]
    assert far.abs().max() == 0  # nothing of the patch comes from there


def test_the_path_moves_as_its_derivative_says():
    image = smooth(12, 10).double()
    for alpha in (0.1, 0.5, 0.8):
        _, slope = blur_path(image, alpha, 1.2)
        after, before = (blur_path(image, alpha + step, 1.2)[0] for step in (1e-4, -1e-4))
        torch.testing.assert_close((after - before) / 2e-4, slope, atol=1e-6, rtol=1e-5)
    blurred, _ = blur_path(image, 0.0, 1.2)
    assert blurred.var() < image.var()
    torch.testing.assert_close(blur_path(torch.full((1, 6, 6), 0.3), 0.0, 1.2)[0], torch.full((1, 6, 6), 0.3))
    assert blur_path(image, 1.0, 1.2)[0].equal(image)


def test_the_path_begins_with_the_blur_of_the_authors():
    """A 9x9 kernel of sigma 1.2, mirrored at the border without repeating it (their OpenCV's default)."""
    at = torch.arange(-4, 5, dtype=torch.float64)
    kernel = torch.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.2**2))
    image = smooth(10, 11, 1).double()
    mirrored = nn.functional.pad(image[None], (4, 4, 4, 4), mode="reflect")
    expected = nn.functional.conv2d(mirrored, (kernel / kernel.sum())[None, None])[0]
    torch.testing.assert_close(blur_path(image, 0.0, 1.2)[0], expected)


@pytest.mark.parametrize("count", [1, 2, 5, 32])
def test_the_rule_integrates_polynomials(count):
    nodes, weights = gauss_legendre(count)
    for degree in range(2 * count):
        integral = sum(w * x**degree for x, w in zip(nodes, weights, strict=True))
        assert integral == pytest.approx(1 / (degree + 1), abs=1e-12)


def test_the_objective_is_the_length_of_differences():
    larger = torch.zeros(1, 1, 8, 8)
    larger[0, 0, 4:, :] = 3
    larger[0, 0, :, 4:] += 4
    # Pixels 2 to 5: a step in each line, and a corner.
    assert edges(larger, Patch(1, 1, 2), 2).item() == pytest.approx(3 * 3 + 3 * 4 + 5)
    larger.requires_grad_()
    edges(larger, Patch(0, 0, 1), 2).backward()
    assert larger.grad.abs().sum() == 0  # flat: no derivative, and no NaN


def test_gini_is_half_the_relative_mean_difference():
    values = torch.rand(60, generator=torch.Generator().manual_seed(3)).square()
    mean_difference = sum(abs(a - b) for a in values.tolist() for b in values.tolist()) / 60**2
    assert gini(values) == pytest.approx(mean_difference / (2 * values.mean().item()), rel=1e-6)
    assert gini(torch.full((5,), 2.0)) == pytest.approx(0)
    assert gini(torch.tensor([0.0, 0, 0, 1])) == pytest.approx(0.75)
    assert gini(torch.zeros(3)) == 0


def test_one_block_of_windows_looks_into_its_windows_only(randomized, described):
    """One block without channel attention, its overlapping attention off: a patch sees its window and a few rims."""
    net = randomized(HAT(HATConfig(
        scale=2, embed_dim=12, depths=(1,), num_heads=(2,), window_size=8, overlap_window=8, compress_dim=4,
        squeeze_dim=2, mlp_dim=16, oca_mlp_dim=16, num_feat=8, conv_scale=0.0,
    )))  # fmt: skip
    found = attribute(on_cpu(described(net)), smooth(40, 40), Patch(19, 19, 2), steps=4)
    used = found.map > found.map.max() * 1e-9
    rows, columns = used.any(1).nonzero().flatten(), used.any(0).nonzero().flatten()
    # The window of 16..23; convolutions before and after the blocks see its neighbors, and those see theirs.
    for lines in (rows, columns):
        assert lines.min() >= 8 - 1
        assert lines.max() <= 31 + 1
    inside = found.map[15:25, 15:25].sum() / found.map.sum()
    assert inside > 0.85


# --- gradients in bounded memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hat_tiny_w8_x2", "hit_srf_small_nearest_x4", "hit_sng_x3", "vapsr_odd_x3"])
def test_blocks_that_compute_anew_change_nothing(golden_case, name):
    case = golden_case(name)
    model = load_model(case.path, **case.options)
    differentiable, image = on_cpu(model), torch.rand(2, model.input_channels, 19, 34)
    x = image.clone().requires_grad_()
    expected = torch.autograd.grad(model.model(x).square().sum(), x)[0]
    assert differentiable._levels
    for levels in gradients.CHECKPOINTED:
        differentiable._checkpointed = levels
        _, gradient = differentiable.gradient(image, lambda y: y.square().sum((1, 2, 3)))
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_small_budget_is_kept(golden_case):
    """What is alive on the way forth, counted apart from the plan: what autograd itself is given to keep."""
    model = load_model(golden_case("hat_tiny_w8_x2").path)
    plain = on_cpu(model, budget=2**40)
    assert plain.plan(64, 64) > 1
    assert plain._checkpointed == ()
    frugal = on_cpu(model, budget=1)
    assert frugal.plan(64, 64) == 1
    assert frugal._checkpointed == gradients.CHECKPOINTED[-1]
    kept = {}
    for name, each in (("plain", plain), ("frugal", frugal)):
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes=sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            larger = each(torch.rand(1, 3, 64, 64).requires_grad_())
        kept[name] = sum(sizes.values())
        del larger
    weights = sum(p.nbytes for p in model.model.parameters())
    assert plain._probed.saved(()) == pytest.approx(kept["plain"], rel=0.1, abs=weights)
    assert kept["frugal"] < kept["plain"] / 1.5


def test_a_block_that_writes_to_its_input_is_found_out(described):
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.mul_(0.5)).sigmoid()

    network = nn.Sequential(nn.Conv2d(3, 3, 1), Block(), Block())
    frugal = on_cpu(described(network, scale=1), budget=1)
    frugal.plan(64, 64)
    assert frugal._checkpointed == ()


def test_the_model_is_left_alone(official_vapsr):
    model = load_model(official_vapsr("VapSR_X4.pth"))
    before = {name: (p, p.data_ptr(), p.requires_grad) for name, p in model.model.named_parameters()}
    differentiable = on_cpu(model)
    attribute(differentiable, smooth(16, 16), steps=2)
    for name, parameter in model.model.named_parameters():
        assert before[name] == (parameter, parameter.data_ptr(), parameter.requires_grad)
        assert parameter.grad is None
    assert "forward" not in vars(model.model.body[0])
    shared = {p.data_ptr() for p in differentiable._network.parameters()}
    assert shared == {p.data_ptr() for p in model.model.parameters()}


def test_a_host_may_run_in_inference_mode(randomized, described):
    """As ComfyUI does, with weights and images made there."""
    config = VapSRConfig(scale=2, num_feat=8, num_blocks=2, attention_dim=8)
    model, image = described(randomized(VapSR(config))), smooth(20, 20)
    expected = attribute(on_cpu(model), image, steps=3)
    with torch.inference_mode():
        made_there = described(randomized(VapSR(config)))
        found = attribute(on_cpu(made_there), image.clone(), steps=3)
    torch.testing.assert_close(found.signed, expected.signed)


def test_spandrels_networks_are_padded_to_what_they_take(described):
    model = described(nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)))
    model._size_requirements = model.size_requirements
    model.size_requirements.multiple_of, model.size_requirements.minimum = 8, 16
    seen = []
    model.model.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    found = attribute(on_cpu(model), smooth(13, 21), steps=2)
    assert seen[0][2:] == (16, 24)
    assert found.map.shape == (13, 21)


def test_what_cannot_be_measured_is_said(described, enlarger):
    model = on_cpu(enlarger())
    with pytest.raises(UpscaleError, match="does not lie in an image of 12x10"):
        attribute(model, smooth(10, 12), Patch(10, 0, 4))
    with pytest.raises(UpscaleError, match=r"shape \(3, H, W\), not \(1, 8, 8\)"):
        attribute(model, smooth(8, 8, 1))
    stopped = on_cpu(described(VapSR(VapSRConfig(scale=2, num_blocks=2))), cancelled=lambda: True)
    with pytest.raises(Cancelled):
        attribute(stopped, smooth(8, 8))
