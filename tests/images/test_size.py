"""Size: what the text means, which text is refused, and values that were never text."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supertile.images.size import Size, SizeError


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        (None, (10, 7), (40, 28)),
        ("2x", (10, 7), (20, 14)),
        ("1.5x", (10, 7), (15, 11)),
        (".5X", (10, 8), (5, 4)),
        ("0.01x", (10, 8), (1, 1)),
        ("1920x1080", (400, 300), (1440, 1080)),
        (" 1920 × 1080 ", (400, 100), (1920, 480)),
        ("fit:1920x1080", (300, 400), (810, 1080)),
        ("fit:4k", (1080, 1920), (2160, 3840)),
        ("stretch:1920x1080", (10, 7), (1920, 1080)),
        ("stretch:1080p", (7, 10), (1080, 1920)),
        ("fill:1920x1080", (400, 300), (1920, 1080)),
        ("fill:4k", (300, 400), (2160, 3840)),
        ("pad:1920x1080", (400, 300), (1920, 1080)),
        ("pad:100x100:navy", (400, 300), (100, 100)),
        ("1920x", (400, 300), (1920, 1440)),
        ("x1080", (400, 300), (1440, 1080)),
        ("17x", (34, 10), (17, 5)),
        ("4k", (1920, 1080), (3840, 2160)),
        ("4K", (1080, 1920), (2160, 3840)),
        ("4k", (400, 300), (2880, 2160)),
        ("4k", (1000, 100), (3840, 384)),
        ("8k", (5000, 5000), (4320, 4320)),
        ("1080p", (400, 300), (1440, 1080)),
        ("720p", (300, 400), (720, 960)),
        ("12mp", (4000, 3000), (4000, 3000)),
        ("1mp", (2000, 2000), (1000, 1000)),
        ("0.25mp", (100, 100), (500, 500)),
    ],
)
def test_sizes(text, source, expected):
    assert Size.coerce(text).of(*source, 4) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "4", "big", "-2x", "2x2x", "1e3x", "mp", "4kk", "nanx", "9" * 400 + "mp"),
        *("0x", "0x0", "0x100", "x0", "0mp"),
        *("99999999.5x", "999999999.0x"),
        *("fill:2x", "fill:", "fit:1920x", "fit:100x100:white", "fill:0x9", "pad:0x9", ":100x100"),
    ],
)
def test_nonsense_zero_and_the_monstrous_are_refused_in_one_sentence(text):
    with pytest.raises(SizeError, match=r"^Size .*[.?]$") as refused:
        Size.parse(text)
    assert "\n" not in str(refused.value)


def test_a_size_possible_only_for_some_images_passes_the_check_before_reading():
    size = Size.parse("x900000000")
    assert size.of(10, 1000, 4) == (9_000_000, 900_000_000)
    with pytest.raises(SizeError, match="no format holds more than 2147483647 a side"):
        size.of(1000, 100, 4)


def test_pixels_are_limited_by_formats_and_memory_alone():
    assert Size.parse("1001mp").of(1000, 1000, 4) == (31639, 31639)
    assert Size.parse("stretch:40000x40000").of(10, 10, 4) == (40000, 40000)
    assert Size.model_scale().of(13500, 13500, 4) == (54000, 54000)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_size_error(text):
    try:
        width, height = Size.parse(text).of(300, 200, 2)
    except SizeError:
        return
    assert 1 <= width < 2**31
    assert 1 <= height < 2**31


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(["2k", "4k", "8k", "1080p"]))
def test_named_sizes_fill_their_box_and_keep_the_aspect_ratio(width, height, name):
    box = {"2k": (2560, 1440), "4k": (3840, 2160), "8k": (7680, 4320), "1080p": (1920, 1080)}[name]
    if height > width:
        box = box[::-1]
    new = Size.parse(name).of(width, height, 4)
    assert new[0] <= box[0]
    assert new[1] <= box[1]
    assert new[0] == box[0] or new[1] == box[1]
    assert abs(new[0] / width - new[1] / height) <= max(1 / width, 1 / height)


@pytest.mark.parametrize(
    ("size", "text", "same_as"),
    [
        (Size.factor(2), "2x", "2x"),
        (Size.factor(1.15), "1.15x", "1.15x"),
        (Size.exact(1920, 1080), "stretch:1920x1080", "stretch:1920x1080"),
        (Size.fill(1920, 1080), "fill:1920x1080", "fill:1920x1080"),
        (Size.pad(1920, 1080), "pad:1920x1080", "pad:1920x1080"),
        (Size.pad(1920, 1080, (1, 1, 1)), "pad:1920x1080:ffffff", "pad:1920x1080:white"),
        (Size.width(1920), "1920x", "1920x"),
        (Size.height(9), "x9", "x9"),
        (Size.box(3840, 2160), "within 3840x2160", "4k"),
        (Size.fit(1920, 1080), "fit:1920x1080", "1920 x 1080"),
        (Size.megapixels(0.25), "0.25mp", ".25mp"),
        (Size.model_scale(), "", None),
    ],
)
def test_values_equal_what_is_parsed(size, text, same_as):
    assert size == Size.coerce(same_as) == Size.coerce(size)
    assert hash(size) == hash(Size.coerce(same_as))
    assert str(size) == text
    assert str(Size.parse(" 4K ")) == " 4K "


def test_a_float_counts_as_the_decimal_it_is_printed_as():
    assert Size.factor(1.15).of(10, 10, 4) == Size.parse("1.15x").of(10, 10, 4) == (12, 12)
    assert Size.factor(1 / 3).of(300_000, 3, 4) == (100_000, 1)


@pytest.mark.parametrize("side", [2, 5000])
def test_the_longest_side_is_met_in_landscape_and_portrait(side):
    assert Size.longest_side(side).of(300, 200, 4) == (side, round(side * 2 / 3))
    assert Size.longest_side(side).of(200, 300, 4) == (round(side * 2 / 3), side)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**19])
def test_values_that_no_image_can_have_are_refused(value):
    for make in (Size.factor, Size.megapixels, Size.width, Size.height, Size.longest_side):
        with pytest.raises(SizeError, match=r"^Size .*[.?]$"):
            make(value)


def test_only_a_factor_is_common_to_all_images():
    assert Size.parse("1.5x").common_factor == 1.5
    assert {Size.coerce(text).common_factor for text in (None, "1920x", "4k", "1mp", "2x2")} == {None}


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(400, 300, (1440, 1080)), (300, 400, (810, 1080)), (400, 100, (1920, 480))]
)
def test_a_box_to_fit_into_is_never_turned(width, height, expected):
    assert Size.parse("fit:1920x1080").of(width, height, 4) == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2", "2x"),
        ("1.5", "1.5x"),
        ("200%", "2x"),
        ("150 %", "1.5x"),
        ("x1.5", "1.5x"),
        ("1080", "1080p (to fit into 1920x1080), 1080x (that width) or x1080 (that height)"),
        ("1500", "1500x (that width) or x1500 (that height)"),
        ("1920*1080", "1920x1080"),
        ("crop:1920x1080", "fill:1920x1080"),
        ("exact:99x63", "stretch:99x63"),
        ("fil:4k", "fill:4k"),
        ("1920x1080px", "1920x1080"),
        ("800px", "800x"),
        ("1081p", "1080p"),
        ("4kk", "4k"),
    ],
)
def test_a_size_that_is_almost_one_is_suggested(text, meant):
    with pytest.raises(SizeError) as refused:
        Size.parse(text)
    assert str(refused.value) == f"Size {text!r} is not understood; did you mean {meant}?"


@pytest.mark.parametrize("text", ["pad:100x100:whit", "pad:100x100:", "pad:100x100:12345", "pad:100x100:#11223344"])
def test_a_color_that_is_none_is_refused(text):
    with pytest.raises(SizeError, match="is not understood; give a name such as white, or six digits"):
        Size.parse(text)


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(2, 5000), st.integers(2, 5000), st.sampled_from([1, 2, 4])
)
def test_fill_covers_its_box_and_pad_lies_in_it(width, height, wide, high, scale):
    fill, pad = (Size.parse(f"{mode}:{wide}x{high}").framing(width, height, scale) for mode in ("fill", "pad"))
    assert fill.size == pad.size == (wide, high)
    assert pad.scaled == Size.fit(wide, high).of(width, height, scale)
    assert all(inner <= side for inner, side in zip(pad.scaled, pad.size, strict=True))
    assert all(outer >= side for outer, side in zip(fill.scaled, fill.size, strict=True))
    for framing in (fill, pad):
        assert any(inner == side for inner, side in zip(framing.scaled, framing.size, strict=True))


def test_pixels_that_are_not_square_become_square_where_something_is_cropped_or_added():
    anamorphic = {"width": 720, "height": 576, "scale": 2, "pixel_ratio": Fraction(64, 45)}
    assert Size.parse("pad:1920x1080").framing(**anamorphic).is_whole
    assert Size.parse("fill:1000x1000").framing(**anamorphic).scaled == (1778, 1000)
    assert Size.parse("fit:1920x1080").framing(**anamorphic).size == (1350, 1080)


def test_a_result_of_even_sides_is_a_pixel_smaller():
    assert Size.parse("fill:99x63").framing(400, 300, 4, even=True).size == (98, 62)
    assert Size.parse("pad:1x3").framing(400, 300, 4, even=True).size == (2, 2)
    assert Size.parse("stretch:99x63").framing(400, 300, 4, even=True).size == (99, 63)
