"""Matrices and code ranges against the numbers that the standards print."""

from __future__ import annotations

import numpy as np
import pytest
from supertile.video.color.matrices import CodeRange, is_cosited, luma_weights, rgb_from_ycc, ycc_from_rgb
from supertile.video.frames import Color

MATRICES = (1, 4, 5, 6, 7, 9)


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_two_matrices_undo_each_other(matrix: int) -> None:
    assert np.abs(ycc_from_rgb(matrix) @ rgb_from_ycc(matrix) - np.eye(3)).max() < 1e-15


@pytest.mark.parametrize("matrix", MATRICES)
def test_gray_has_no_chroma_and_primaries_reach_a_half(matrix: int) -> None:
    ycc = ycc_from_rgb(matrix)
    assert np.allclose(ycc @ [1, 1, 1], [1, 0, 0], atol=1e-15)
    assert np.allclose(ycc @ [0, 0, 1], [luma_weights(matrix)[1], 0.5, ycc[2, 2]])  # blue: Cb at its most
    assert np.isclose((ycc @ [1, 0, 0])[2], 0.5)  # red: Cr at its most


def test_bt709_inverse_is_the_printed_one() -> None:
    # BT.709-6 and every broadcast handbook: 1.5748, 0.1873, 0.4681, 1.8556.
    expected = [[1, 0, 1.5748], [1, -0.187324, -0.468124], [1, 1.8556, 0]]
    assert np.allclose(rgb_from_ycc(1), expected, atol=1e-6)


def test_bt601_inverse_is_the_printed_one() -> None:
    assert np.allclose(rgb_from_ycc(6), [[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], atol=1e-6)
    assert np.array_equal(rgb_from_ycc(5), rgb_from_ycc(6))


def test_bt2020_inverse_is_the_printed_one() -> None:
    assert np.allclose(rgb_from_ycc(9), [[1, 0, 1.4746], [1, -0.164553, -0.571353], [1, 1.8814, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("depth", "full", "black", "white", "neutral", "chroma_top"),
    [
        (8, False, 16, 235, 128, 240),
        (10, False, 64, 940, 512, 960),
        (12, False, 256, 3760, 2048, 3840),
        (8, True, 0, 255, 128, 255.5),
        (10, True, 0, 1023, 512, 1023.5),
    ],
)
def test_codes_of_black_white_and_neutral(
    depth: int, full: bool, black: int, white: int, neutral: int, chroma_top: float
) -> None:
    codes = CodeRange.of(depth, full)
    assert codes.luma_offset == black
    assert codes.luma_offset + codes.luma_scale == white
    assert codes.chroma_offset == neutral
    assert codes.chroma_offset + codes.chroma_scale / 2 == chroma_top


def test_unusual_matrices_have_a_stand_in() -> None:
    assert luma_weights(10) == luma_weights(14) == luma_weights(9)
    assert luma_weights(8) == luma_weights(2) == luma_weights(1)


def test_siting_along_each_axis() -> None:
    assert is_cosited(Color(siting="left")) == (True, False)
    assert is_cosited(Color(siting="center")) == (False, False)
    assert is_cosited(Color(siting="topleft")) == (True, True)
    with pytest.raises(ValueError, match="siting"):
        is_cosited(Color(siting="bottom"))
