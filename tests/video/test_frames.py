"""A Span is exact, half open, and keeps its open sides."""

from __future__ import annotations

from fractions import Fraction

import pytest
from supertile.video.errors import VideoError
from supertile.video.frames import Span


def test_floats_are_the_decimal_numbers_they_were_written_as():
    assert Span(0.4, 1.1) == Span(Fraction(2, 5), Fraction(11, 10))


def test_a_shift_leaves_open_sides_open():
    assert Span(None, 2).shifted(Fraction(-3)) == Span(None, -1)
    assert Span(0).shifted(Fraction(1, 3)) == Span(Fraction(1, 3))
    assert Span().shifted(Fraction(5)) == Span()


@pytest.mark.parametrize("bounds", [(-1, None), (None, -0.5)])
def test_negative_times_cannot_be_cut(bounds):
    with pytest.raises(ValueError, match="zero or more"):
        Span(*bounds).validate()


@pytest.mark.parametrize("bounds", [(2, 1), (1, 1), (None, 0)])
def test_the_end_must_lie_after_the_start(bounds):
    with pytest.raises(VideoError, match="must lie after start"):
        Span(*bounds).validate()
