"""Two images against each other: the difference, its gain, the place where it is largest, and the drawing of it."""

from __future__ import annotations

import pytest
import torch
from supertile.analysis.comparison import Region, compare
from supertile.analysis.comparison_sheet import draw_sheet, sentence
from supertile.analysis.fidelity import ComparisonError, measure


@pytest.fixture
def pair():
    """Alike, but for a square of 20 pixels at 40, 24."""
    a = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    b = a + 3 / 255 * (a < 0.5)
    b[:, 24:44, 40:60] = 1 - b[:, 24:44, 40:60]
    return a, b


def test_the_difference_is_that_of_the_channels_times_its_gain(pair):
    a, b = pair
    found = compare(a, b)
    assert found.fidelity == measure(a, b, 0)
    assert torch.allclose(found.difference, ((a - b).abs() * found.gain).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize(("steps", "gain"), [(1, 128), (2, 64), (3, 64), (10, 16), (100, 2), (128, 1), (255, 1)])
def test_the_gain_brings_a_difference_just_below_white(steps, gain):
    a, b = torch.zeros(1, 20, 20), torch.full((1, 20, 20), steps / 255)
    found = compare(a, b)
    assert found.gain == gain
    assert found.difference.shape == (3, 20, 20)
    assert found.difference.max() == pytest.approx(steps * gain / 255)


def test_a_few_outliers_do_not_hide_the_rest():
    a, b = torch.zeros(3, 100, 100), torch.full((3, 100, 100), 2 / 255)
    b[:, :3, :3] = 1
    assert compare(a, b).gain == 64


def test_the_worst_place_is_where_the_error_is(pair):
    found = compare(*pair).worst
    assert found.side == 16  # of the square of 20 pixels, which it lies in
    assert 40 <= found.left <= 44
    assert 24 <= found.top <= 28


def test_the_worst_place_is_the_best_of_all_places():
    a, b = torch.rand(2, 3, 24, 31, generator=torch.Generator().manual_seed(1)).mul(255).round() / 255
    worst = compare(a, b).worst
    error = (a - b).square().sum(0)
    every = {
        (x, y): float(error[y : y + worst.side, x : x + worst.side].sum())
        for y in range(24 - worst.side + 1)
        for x in range(31 - worst.side + 1)
    }
    assert max(every, key=every.__getitem__) == (worst.left, worst.top)


def test_the_border_does_not_count(pair):
    a, b = pair
    b = a.clone()
    b[:, :4] = 1 - b[:, :4]
    assert compare(a, b, border=4).worst is None
    assert compare(a, b, border=4).fidelity.identical
    assert compare(a, b, border=3).worst.top == 3


def test_what_cannot_be_compared_is_refused(pair):
    with pytest.raises(ComparisonError, match="120x90 and 90x120"):
        compare(pair[0], pair[0].mT)


# --- the drawing -------------------------------------------------------------------------------------------------


def find(sheet: torch.Tensor, part: torch.Tensor) -> tuple[int, int] | None:
    """Where a part lies in an image, (left, top), to 8 bits."""
    codes, wanted = ((255 * x).round() for x in (sheet, part))
    height, width = wanted.shape[-2:]
    for y, x in (codes[:, : 1 - height, : 1 - width] == wanted[:, :1, :1]).all(0).nonzero().tolist():
        if torch.equal(codes[:, y : y + height, x : x + width], wanted):
            return x, y
    return None


def test_the_drawing_holds_both_images_their_difference_and_the_worst_place(pair):
    found = compare(*pair)
    sheet = draw_sheet(*pair, found, ("one.png", "other.png"))
    twice = [x.repeat_interleave(2, 1).repeat_interleave(2, 2) for x in (*pair, found.difference)]
    # The frame hides some of the rest of a panel, but not its lower half.
    places = [find(sheet, x[:, 96:]) for x in twice]
    assert None not in places
    assert len({y for _, y in places}) == 1
    assert [x for x, _ in places] == [12, 12 + 252, 12 + 504]
    for image in (*pair, found.difference):
        detail = found.worst.of(image).repeat_interleave(15, 1).repeat_interleave(15, 2)  # 240 pixels wide
        assert find(sheet, detail)[1] > places[0][1] + 84


def test_equal_images_have_no_worst_place(pair):
    found = compare(pair[0], pair[0])
    assert (found.worst, found.gain) == (None, 1)
    assert not found.difference.any()
    sheet = draw_sheet(pair[0], pair[0], found)
    assert sheet.shape[1] < draw_sheet(*pair, compare(*pair)).shape[1]
    assert sentence(found.fidelity) == "equal: no pixel differs"


def test_the_figures_are_said_in_a_line(pair):
    f = measure(*pair, 0)
    words = f"Y {f.psnr_y:.2f} dB, SSIM {f.ssim_y:.4f}; RGB {f.psnr_rgb:.2f} dB, SSIM {f.ssim_rgb:.4f}"
    assert sentence(f) == words


@pytest.mark.parametrize("size", [(11, 11), (1500, 40), (40, 1500), (1100, 1300)])
def test_images_of_every_size_are_drawn(size):
    a, b = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(2))
    sheet = draw_sheet(a, b, compare(a, b), ("a" * 300, "b"))
    assert sheet.shape[2] <= 3 * 1024 + 4 * 12
    assert 0 <= sheet.min() < sheet.max() <= 1


def test_names_end_where_the_next_panel_begins(pair):
    """Of two long names the ends are shown, which differ; nothing is written over the neighbor's."""
    found = compare(*pair)
    long = draw_sheet(*pair, found, ("x" * 300 + "one.png", ""))
    short = draw_sheet(*pair, found, ("one.png", ""))
    between = slice(12 + 240, 12 + 252 + 240)
    assert torch.equal(long[:, :72, between], short[:, :72, between])
    assert not torch.equal(long[:, :72, : 12 + 240], short[:, :72, : 12 + 240])


def test_a_region_is_a_part_of_a_image():
    image = torch.arange(35).view(1, 5, 7)
    assert Region(2, 1, 2).of(image).tolist() == [[[9, 10], [16, 17]]]
