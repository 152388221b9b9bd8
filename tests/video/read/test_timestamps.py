"""Timestamps are repaired with the least change, and the last frame gets its duration."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supertile.video.frames import ReadReport
from supertile.video.read.timestamps import Timed, Timeline


def repaired(
    times: list[int | None], nominal: int = 40, time_base: Fraction = Fraction(1, 1000)
) -> tuple[list[int], int]:
    report = ReadReport()
    timeline = Timeline(time_base, nominal, report)
    return [timeline.repaired(pts) for pts in times], report.repaired_pts


def test_good_times_are_left_alone() -> None:
    times = [-80, -40, 0, 1, 2, 500_000]
    assert repaired(times) == (times, 0)


def test_broken_times_are_repaired_with_the_least_change() -> None:
    assert repaired([0, 40, 40, 80, 120]) == ([0, 40, 41, 80, 120], 1)
    assert repaired([0, None, 80, None]) == ([0, 40, 80, 120], 2)
    assert repaired([None, 40]) == ([0, 40], 1)
    assert repaired([0, 120, 80, 160]) == ([0, 120, 121, 160], 1)


def test_a_clock_that_begins_anew_goes_on_behind() -> None:
    assert repaired([9000, 9040, 9080, 0, 40, 80]) == ([9000, 9040, 9080, 9120, 9160, 9200], 1)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**33), 2**33)), max_size=60))
def test_repaired_times_always_rise(times: list[int | None]) -> None:
    fixed, count = repaired(times)
    assert all(a < b for a, b in pairwise(fixed))
    assert count <= len(times)
    report = ReadReport()
    timeline = Timeline(Fraction(1, 1000), 40, report)
    entries = [Timed(None, pts) for pts in fixed]
    lasting = list(timeline.durations(entries))
    assert all(entry.duration is not None and entry.duration > 0 for entry in lasting)
    assert [entry.pts for entry in lasting] == fixed


@pytest.mark.parametrize(
    ("own", "declared_end", "expected"),
    [
        (None, None, 40),  # nothing said: the nominal distance
        (55, None, 55),
        (55, 180, 60),  # 180 - 120: the end wins while it is near
        (40, 9000, 40),  # far away: frames are missing, and the last one is not stretched over the gap
        (40, 100, 40),  # before the frame itself: wrong
        (500, 420, 300),
    ],
)
def test_how_long_the_last_frame_lasts(own: int | None, declared_end: int | None, expected: int) -> None:
    timeline = Timeline(Fraction(1, 1000), 40, ReadReport(), declared_end)
    frames = [Timed("a", 0, 999), Timed("b", 80, 1), Timed("c", 120, own)]
    assert [entry.duration for entry in timeline.durations(frames)] == [80, 40, expected]
    assert timeline.end == 120 + expected
