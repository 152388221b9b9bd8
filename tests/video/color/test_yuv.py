"""Codes to RGB and back, against a float64 formula of the test's own, and to the last code where it must be exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from supertile.video.color.yuv import from_rgb, split_gamut, to_rgb
from supertile.video.frames import Color, Layout, Span
from supertile.video.read.file import VideoReader
from torch import Tensor

WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 7: (0.212, 0.087)}
SAMPLINGS = [(0, 0), (1, 0), (1, 1), (0, 1), (2, 0), (2, 2)]
SITINGS = ["left", "center", "topleft"]


def noise(layout: Layout, width: int, height: int, seed: int = 0) -> tuple[Tensor, ...]:
    """All codes there are, everywhere."""
    generator = np.random.default_rng(seed)
    dtype = np.uint8 if layout.depth == 8 else np.uint16
    shapes = [layout.size_of(plane, width, height) for plane in range(layout.planes)]
    return tuple(torch.from_numpy(generator.integers(0, 2**layout.depth, s).astype(dtype)) for s in shapes)


def numbers(plane: Tensor) -> np.ndarray:
    return plane.numpy().astype(np.int64)


def farthest(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> int:
    assert [p.shape for p in one] == [p.shape for p in other]
    assert [p.dtype for p in one] == [p.dtype for p in other]
    return max(int(np.abs(numbers(a) - numbers(b)).max()) for a, b in zip(one, other, strict=True))


def there_and_back(planes: tuple[Tensor, ...], layout: Layout, rgb_color: Color, width: int, height: int) -> int:
    """By how many codes any sample changes, clamped for a network and with what that takes away added again."""
    rgb, alpha = to_rgb(planes, layout, rgb_color, width=width, height=height)
    inside, overshoot = split_gamut(rgb)
    back = inside if overshoot is None else inside + overshoot
    return farthest(planes, from_rgb(back, alpha, layout, rgb_color))


def exact_rgb(planes: tuple[Tensor, ...], depth: int, matrix: int, full: bool) -> np.ndarray:
    """float64 RGB of 4:4:4 planes, by the equations of H.273, as they are printed."""
    y, cb, cr = (numbers(plane).astype(np.float64) for plane in planes[:3])
    if full:
        y, cb, cr = (
            y / (2**depth - 1),
            (cb - 2 ** (depth - 1)) / (2**depth - 1),
            (cr - 2 ** (depth - 1)) / (2**depth - 1),
        )
    else:
        step = 2 ** (depth - 8)
        y, cb, cr = (y / step - 16) / 219, (cb / step - 128) / 224, (cr / step - 128) / 224
    kr, kb = WEIGHTS[matrix]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_rgb_is_the_standards(matrix: int, full: bool, depth: int) -> None:
    layout, rgb_color = Layout("yuv", depth), Color(matrix, full)
    planes = noise(layout, 64, 48)
    rgb, alpha = to_rgb(planes, layout, rgb_color, width=64, height=48)
    assert alpha is None
    assert rgb.dtype == torch.float32
    assert np.abs(rgb.numpy() - exact_rgb(planes, depth, matrix, full)).max() < 2e-6


@pytest.mark.parametrize(("depth", "black", "white"), [(8, 16, 235), (10, 64, 940), (12, 256, 3760)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_white_is_one_and_black_is_zero(depth: int, black: int, white: int, sampling: tuple[int, int]) -> None:
    layout, rgb_color = Layout("yuv", depth, sampling), Color()
    planes = tuple(torch.full_like(p, 2 ** (depth - 1)) for p in noise(layout, 8, 6))
    planes[0][:, :4], planes[0][:, 4:] = black, white
    rgb, _ = to_rgb(planes, layout, rgb_color, width=8, height=6)
    assert rgb[..., :4].abs().max() < 1e-6
    assert (rgb[..., 4:] - 1).abs().max() < 1e-6
    assert farthest(planes, from_rgb(rgb.clamp(0, 1), None, layout, rgb_color)) == 0


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
def test_no_code_changes_there_and_back(depth: int, sampling: tuple[int, int], siting: str) -> None:
    for full, matrix, (width, height) in [(False, 1, (64, 48)), (True, 6, (63, 47)), (False, 9, (62, 49))]:
        layout, rgb_color = Layout("yuv", depth, sampling), Color(matrix, full, siting)
        assert there_and_back(noise(layout, width, height), layout, rgb_color, width, height) <= (depth == 16)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(SAMPLINGS), st.sampled_from(SITINGS), st.booleans())
def test_no_code_changes_at_any_size(
    width: int, height: int, sampling: tuple[int, int], siting: str, full: bool
) -> None:
    layout, rgb_color = Layout("yuv", 8, sampling, alpha=True), Color(1, full, siting)
    assert there_and_back(noise(layout, width, height, width), layout, rgb_color, width, height) == 0


def test_five_generations_do_not_drift() -> None:
    layout, rgb_color = Layout("yuv", 8, (1, 1)), Color()
    planes = first = noise(layout, 40, 30)
    for _ in range(5):
        rgb, _ = to_rgb(planes, layout, rgb_color, width=40, height=30)
        planes = from_rgb(rgb, None, layout, rgb_color)
    assert farthest(planes, first) == 0


def test_bands_of_a_large_frame_meet_without_a_seam() -> None:
    width, height = 1920, 700  # several strips, the last of them of another height
    for siting in SITINGS:
        layout, rgb_color = Layout("yuv", 8, (1, 1)), Color(siting=siting)
        planes = noise(layout, width, height)
        whole, _ = to_rgb(planes, layout, rgb_color, width=width, height=height)
        part = tuple(plane[:, : size // 8] for plane, size in zip(planes, (1920, 960, 960), strict=True))
        narrow, _ = to_rgb(part, layout, rgb_color, width=width // 8, height=height)  # one strip
        inner = slice(0, width // 8 - 2)  # beyond it lie columns that only the whole knows
        assert torch.equal(whole[..., inner], narrow[..., inner])
        assert farthest(planes, from_rgb(whole, None, layout, rgb_color)) == 0


def test_a_step_in_chroma_lies_where_the_siting_says() -> None:
    layout = Layout("yuv", 8, (1, 1))
    planes = (torch.full((8, 16), 126, dtype=torch.uint8), *(torch.full((4, 8), 128, dtype=torch.uint8) for _ in "uv"))
    planes[1][:, 4:] = 160  # Cb rises between chroma samples 3 and 4
    blue = {s: to_rgb(planes, layout, Color(siting=s), width=16, height=8)[0][2, 4] for s in ("left", "center")}
    low, high = blue["left"][0], blue["left"][-1]
    assert torch.isclose(blue["left"][7], (low + high) / 2)  # samples on luma 6 and 8: half way at 7
    assert torch.isclose(blue["left"][6], low)
    assert torch.isclose(blue["left"][8], high)
    assert torch.isclose(blue["center"][7] + blue["center"][8], low + high)  # samples on 6.5 and 8.5: half way at 7.5


@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("model", ["rgb", "gray"])
def test_rgb_and_gray_keep_every_code(model: str, alpha: bool, depth: int) -> None:
    for full in (False, True):
        layout, rgb_color = Layout(model, depth, alpha=alpha), Color(0 if model == "rgb" else 1, full)
        planes = noise(layout, 31, 17)
        rgb, transparency = to_rgb(planes, layout, rgb_color, width=31, height=17)
        assert rgb.shape == (3 if model == "rgb" else 1, 17, 31)
        assert (transparency is not None) == alpha
        assert farthest(planes, from_rgb(rgb, transparency, layout, rgb_color)) == 0
        if alpha:
            assert torch.allclose(transparency[0], planes[-1].to(torch.float32) / (2**depth - 1))


def test_limited_gray_is_stretched_and_full_gray_is_not() -> None:
    plane = (torch.tensor([[16, 235]], dtype=torch.uint8),)
    limited, _ = to_rgb(plane, Layout("gray"), Color(1, False), width=2, height=1)
    full, _ = to_rgb(plane, Layout("gray"), Color(1, True), width=2, height=1)
    assert torch.allclose(limited, torch.tensor([[[0.0, 1.0]]]), atol=1e-6)
    assert torch.allclose(full, torch.tensor([[[16.0, 235.0]]]) / 255)


def test_gray_becomes_neutral_color() -> None:
    gray = torch.rand(1, 9, 7)
    for full, depth in [(False, 8), (True, 10)]:
        y, cb, cr = from_rgb(gray, None, Layout("yuv", depth, (1, 1)), Color(1, full))
        assert cb.shape == cr.shape == (5, 4)
        assert set(numbers(cb).flat) == set(numbers(cr).flat) == {2 ** (depth - 1)}
        (alone,) = from_rgb(gray, None, Layout("gray", depth), Color(1, full))
        assert np.array_equal(numbers(y), numbers(alone))
    red, green, blue = from_rgb(gray, None, Layout("rgb", 8), Color(0, True))
    assert torch.equal(red, green)
    assert torch.equal(green, blue)


def test_color_becomes_gray_by_luma() -> None:
    rgb = torch.rand(3, 9, 7)
    (gray,) = from_rgb(rgb, None, Layout("gray", 16), Color(1, True))
    red, green, blue = rgb.double().numpy()
    assert np.abs(numbers(gray) - 65535 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)).max() < 0.6


def test_a_layout_with_alpha_gets_an_opaque_one_where_there_is_none() -> None:
    planes = from_rgb(torch.rand(3, 4, 6), None, Layout("yuv", 10, (1, 1), alpha=True), Color())
    assert set(numbers(planes[3]).flat) == {1023}
    assert len(from_rgb(torch.rand(3, 4, 6), torch.rand(1, 4, 6), Layout("yuv", 10, (1, 1)), Color())) == 3


def test_other_layout_and_color_out_than_in() -> None:
    source, target = Layout("yuv", 8), Layout("yuv", 12)
    planes = noise(source, 32, 32)
    rgb, _ = to_rgb(planes, source, Color(6), width=32, height=32)
    rgb = rgb.clamp(0, 1)
    out = from_rgb(rgb, None, target, Color(1))
    assert np.abs(exact_rgb(out, 12, 1, False) - rgb.numpy()).max() < 1 / 2000
    half, _ = to_rgb(out, target, Color(1), width=32, height=32)
    assert torch.allclose(half, rgb, atol=1 / 2000)


def test_rounding_is_to_nearest_and_codes_never_wrap() -> None:
    values = torch.linspace(-0.5, 1.5, 4001)[None, None]
    for depth in (8, 10, 16):
        (codes,) = from_rgb(values, None, Layout("gray", depth), Color(1, True))
        top = 2**depth - 1
        exact = np.clip(values[0].double().numpy() * top, 0, top)
        assert np.abs(numbers(codes) - exact).max() <= 0.51
    halves = torch.full((3, 2, 2), 0.5, dtype=torch.float16)
    assert set(numbers(from_rgb(halves, None, Layout("rgb"), Color(0, True))[0]).flat) == {128}


def test_split_gamut_takes_away_exactly_what_lies_outside() -> None:
    rgb = torch.randn(3, 20, 30)
    inside, overshoot = split_gamut(rgb)
    assert overshoot is not None
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert torch.equal(inside + overshoot, rgb)
    assert split_gamut(torch.rand(3, 4, 4))[1] is None


def test_planes_that_do_not_fit_are_refused() -> None:
    layout = Layout("yuv", 8, (1, 1))
    planes = noise(layout, 8, 8)
    with pytest.raises(ValueError, match="must be"):
        to_rgb(planes, layout, Color(), width=9, height=8)
    with pytest.raises(ValueError, match="10 bits"):
        to_rgb(planes, Layout("yuv", 10, (1, 1)), Color(), width=8, height=8)


def test_real_video_comes_back_whole(shared_video) -> None:
    changed_by_clamping = 0
    with VideoReader(shared_video("nasa_13013.mp4"), span=Span(end=2)) as reader:
        info = reader.info
        for frame in reader:
            rgb, _ = to_rgb(frame.planes, info.layout, info.color, width=info.width, height=info.height)
            inside, overshoot = split_gamut(rgb)
            assert overshoot is not None
            assert farthest(frame.planes, from_rgb(inside + overshoot, None, info.layout, info.color)) == 0
            clamped = from_rgb(inside, None, info.layout, info.color)
            changed_by_clamping += int((clamped[0] != frame.planes[0]).sum())
    assert changed_by_clamping > 0  # or overshoot would be for nothing


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_on_cuda_the_same_codes_come_back(depth: int) -> None:
    for sampling in SAMPLINGS:
        layout, rgb_color = Layout("yuv", depth, sampling, alpha=True), Color()
        planes = noise(layout, 63, 49)
        rgb, alpha = to_rgb(planes, layout, rgb_color, "cuda", width=63, height=49)
        on_cpu, _ = to_rgb(planes, layout, rgb_color, width=63, height=49)
        assert rgb.is_cuda
        assert torch.allclose(rgb.cpu(), on_cpu, atol=1e-6)
        back = tuple(plane.cpu() for plane in from_rgb(rgb, alpha, layout, rgb_color))
        assert farthest(planes, back) <= (depth == 16)
