"""RGB between transfer functions and primaries, against numbers of the standards."""

from __future__ import annotations

import pytest
import torch
from supertile.video.color.convert import convert, same_light
from supertile.video.frames import Color

SDR, PQ, HLG = Color(primaries=1, transfer=1), Color(9, primaries=9, transfer=16), Color(9, primaries=9, transfer=18)


def gray(value: float) -> torch.Tensor:
    return torch.full((3, 1, 2), value)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.0, SDR, PQ, 0.5807),  # BT.2408 table 1: 203 cd/m2 is 58 % PQ and 75 % HLG
        (1.0, SDR, HLG, 0.7500),
        (0.5807, PQ, SDR, 1.0),
        (0.7518, PQ, HLG, 1.0),  # 1000 cd/m2
        (0.75, HLG, PQ, 0.5807),
        (0.0, SDR, PQ, 0.0),
        (0.9, PQ, SDR, 1.0),  # clipped
    ],
)
def test_grays_have_the_codes_of_the_standards(value: float, source: Color, target: Color, expected: float) -> None:
    torch.testing.assert_close(convert(gray(value), source, target), gray(expected), atol=2e-3, rtol=0)


def test_there_and_back_is_the_same() -> None:
    rgb = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    for other in (PQ, HLG, Color(9, primaries=9, transfer=14)):
        torch.testing.assert_close(convert(convert(rgb, SDR, other), other, SDR), rgb, atol=2e-3, rtol=0)


def test_red_of_bt709_has_its_known_place_in_bt2020() -> None:
    linear709, linear2020 = Color(primaries=1, transfer=8), Color(primaries=9, transfer=8)
    red = torch.tensor([1.0, 0, 0])[:, None, None]
    expected = torch.tensor([0.6274, 0.0691, 0.0164])[:, None, None]  # BT.2087
    torch.testing.assert_close(convert(red, linear709, linear2020), expected, atol=1e-3, rtol=0)


def test_what_is_alike_is_left_alone() -> None:
    rgb = torch.rand(3, 2, 2) * 3 - 1
    assert convert(rgb, SDR, Color(6, True, transfer=6)) is rgb
    assert same_light(SDR, Color(transfer=13))
    assert Color(5).has_codes_of(Color(6), "yuv")
    assert not Color(1).has_codes_of(Color(6), "yuv")
    assert Color(1).has_codes_of(Color(6), "gray")
    assert not Color(full_range=True).has_codes_of(Color(), "gray")
    assert Color(full_range=True).has_codes_of(Color(), "rgb")
