"""Networks that pad with zeros get the image continued beyond its edges; what is continued is cut off."""

from __future__ import annotations

import shutil

import pytest
import torch
from supertile.inference import Upscaler
from supertile.inference.edges import extended, wrapped
from supertile.weights.bundle import bundled_models
from supertile.weights.loader import load_model
from torch import Tensor

MARGIN = 4


@pytest.fixture
def extending(vapsr, monkeypatch):
    """The small VapSR, as one that gains."""
    monkeypatch.setattr(vapsr.model, "edge_margin", MARGIN)
    return vapsr


def pixels(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def on_cpu(model, **options) -> Upscaler:
    return Upscaler(model, device="cpu", **{"precision": "fp32", **options})


def by_hand(model, image: Tensor) -> Tensor:
    padded = extended(extended(image, 1, MARGIN), 2, MARGIN)
    cut = slice(MARGIN * model.scale, -MARGIN * model.scale)
    return model.model(padded[None])[0, :, cut, cut].clamp(0, 1)


def test_texture_and_slope_go_on():
    ramp = torch.linspace(0.2, 0.8, 7)[None, None]
    assert torch.allclose(extended(ramp, 2, 2)[0, 0, :4], torch.tensor([0.15, 0.15, 0.2, 0.3]))
    image = pixels(9, 8)
    longer = extended(image, 1, 4)
    assert torch.equal(longer[:, 4:-4], image)
    for k in range(1, 5):
        above = (2 * image[:, 0] - image[:, k] + image[:, k - 1]) / 2
        assert torch.allclose(longer[:, 4 - k], above.clamp(0, 1))
        below = (2 * image[:, -1] - image[:, -1 - k] + image[:, -k]) / 2
        assert torch.allclose(longer[:, -5 + k], below.clamp(0, 1))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_images_smaller_than_the_margin_stay_within_their_colors(size):
    flat = torch.full((1, size, size), 0.9)
    assert torch.equal(extended(flat, 1, 4), torch.full((1, size + 8, size), 0.9))
    image = pixels(size, size)
    assert 0 <= extended(image, 2, 4).min() <= extended(image, 2, 4).max() <= 1


def test_wrapping_repeats_the_opposite_side():
    assert wrapped(torch.tensor([[[1, 2, 3]]]), 2, 4)[0, 0].tolist() == [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (64, 64), (150, 131)])
def test_an_image_is_continued_whole_in_strips_and_in_tiles(extending, size):
    image = pixels(*size)
    expected = by_hand(extending, image)
    for tile in ("auto", "whole", 60):
        result = on_cpu(extending, tile=tile)(image[None])[0]
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_only_the_edges_change_and_only_on_request_do_they_not(extending):
    image = pixels(60, 70)
    network = on_cpu(extending, edges="network")(image[None])[0]
    torch.testing.assert_close(network, extending.model(image[None])[0].clamp(0, 1), atol=1e-5, rtol=0)
    difference = (on_cpu(extending)(image[None])[0] - network).abs()
    assert difference[:, 0].max() > 0.01
    assert difference[:, 30:-30, 30:-30].max() < 1e-5  # the network sees 13 pixels
    with pytest.raises(ValueError, match="edges is one of extend, network"):
        on_cpu(extending, edges="mirror")


def test_other_networks_are_left_alone(enlarger, vapsr, golden_case):
    """The authors' VapSR too: on 18 of the 19 images of Set5 and Set14 it knows better."""
    image = pixels(20, 24)
    for model in (enlarger(), vapsr, load_model(golden_case("hat_tiny_w8_x2").path)):
        assert torch.equal(on_cpu(model)(image[None]), on_cpu(model, edges="network")(image[None]))


def test_an_image_of_a_tiles_size_is_still_one_tile(extending):
    upscaler = on_cpu(extending, tile=100)
    upscaler(pixels(100, 100)[None])
    assert upscaler.stats.tiles_computed == 1
    assert upscaler.steps(100, 100) == 1


def test_seamless_axes_wrap_and_the_others_are_continued(extending):
    image = pixels(40, 40)
    across = on_cpu(extending, seamless="x")(image[None])[0]
    wider = wrapped(image, 2, 32)
    expected = on_cpu(extending)(wider[None])[0][..., 64:-64]
    torch.testing.assert_close(across, expected, atol=1e-5, rtol=0)


def test_static_tiles_of_a_stream_are_reused(extending):
    first = pixels(80, 160)
    second = first.clone()
    second[:, 5, 5] = 1 - second[:, 5, 5]
    upscaler = on_cpu(extending, tile=60, overlap=16)
    results = list(upscaler.stream([first, second], reuse_static=True))
    assert upscaler.stats.tiles_reused > 0
    for image, result in zip((first, second), results, strict=True):
        torch.testing.assert_close(result, by_hand(extending, image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["supertile-2x", "supertile-4x", "supertile-photo-2x", "supertile-photo-4x"])
def test_bright_pictures_keep_their_color_to_the_edge(name):
    model = load_model(name)
    for color in ((1.0, 1.0, 1.0), (1.0, 0.8, 0.0), (0.1, 0.3, 1.0)):
        image = torch.tensor(color)[:, None, None].expand(3, 24, 24)
        errors = {edges: 255 * (on_cpu(model, edges=edges)(image[None])[0] - image[:, :1, :1]).abs().max() for edges in
                  ("network", "extend")}  # fmt: skip
        assert errors["extend"] < max(1, min(4, errors["network"] / 4)), (color, errors)


@pytest.mark.parametrize(("name", "scale"), [("supertile-2x", 2), ("supertile-photo-4x", 4)])
def test_edges_are_nearer_to_the_original(image_pairs, read_rgb, name, scale):
    """Mean squares in the outermost ring of small pixels, on pictures that nothing was trained on."""
    model = load_model(name)
    squares = {"network": 0.0, "extend": 0.0}
    for small, large in sorted(image_pairs("Set14", scale), key=lambda pair: pair[0].stat().st_size)[:5]:
        image, truth = read_rgb(small), read_rgb(large)
        inner = slice(scale, -scale)
        for edges in squares:
            error = (on_cpu(model, edges=edges)(image[None])[0] - truth).square().mean(0)
            squares[edges] += float((error.sum() - error[inner, inner].sum()) / (sum(error.shape) * 2 * scale))
    assert squares["extend"] < 0.95 * squares["network"]


def test_the_title_in_a_files_header_decides(tmp_path):
    file = shutil.copy(bundled_models()["supertile-2x"], tmp_path / "copy.safetensors")
    assert load_model(file).model.edge_margin == load_model("supertile-2x", denoise=0.5).model.edge_margin == 4
