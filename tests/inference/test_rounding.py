"""Pixels between two codes are rounded so that they reduce to a source."""

from __future__ import annotations

import pytest
import torch
from supertile.inference.resample import resample
from supertile.inference.rounding import round_to
from torch import Tensor

CODE = 1 / 255


def between(size: tuple[int, int], seamless: str = "none") -> tuple[Tensor, Tensor]:
    """Return a plane whose values lie 0.4 codes above one in a square, so that rounding loses them, and its source."""
    codes = torch.randint(20, 230, size[::-1], generator=torch.Generator().manual_seed(1)).float()
    codes[size[1] // 5 : size[1] // 2, : size[0] // 4] += 0.4
    return codes * CODE, resample(codes * CODE, (20, 16), seamless=seamless).clamp(0, 1)


def difference(plane: Tensor, source: Tensor, seamless: str = "none") -> Tensor:
    stored = plane.mul(255).round().div(255)
    return (resample(stored, (source.shape[1], source.shape[0]), seamless=seamless).clamp(0, 1) - source).abs() / CODE


@pytest.mark.parametrize("size", [(40, 32), (47, 33), (80, 64), (160, 128)])
@pytest.mark.parametrize("seamless", ["none", "x", "both"])
def test_values_come_as_near_as_is_asked(size, seamless):
    plane, source = between(size, seamless)
    before = difference(plane, source, seamless)
    off = before > 0.3
    assert 2 < int(off.sum()) < 40
    rounded = round_to(plane, source, off, 0.3 * CODE, seamless=seamless)
    assert difference(rounded, source, seamless).max() < 0.301
    assert ((rounded - plane).abs() < 1.0001 * CODE).all()


def test_only_what_helps_is_moved():
    plane, source = between((80, 64))
    off = difference(plane, source) > 0.39
    off[8:] = False
    rounded = round_to(plane, source, off, 0.3 * CODE)
    moved = rounded != plane
    assert 0 < int(moved.sum()) < 200
    assert not moved[:, 50:].any()
    untouched = round_to(plane, source, torch.zeros_like(off), 0.3 * CODE)
    assert torch.equal(untouched, plane)


def test_what_has_no_solution_stays():
    plane, source = torch.zeros(24, 24), torch.zeros(12, 12)
    source[6, 6] = 0.5
    rounded = round_to(plane, source, source > 0.1, 0.1 * CODE)
    assert torch.equal(rounded, plane)


def test_beside_what_has_no_solution_fewer_are_off():
    plane, source = between((40, 32))
    source = source.clone()
    source[5, 2] = 1  # which has no solution
    off = difference(plane, source) > 0.3
    rounded = round_to(plane, source, off, 0.3 * CODE)
    before, after = ((difference(each, source) > 0.301).sum() for each in (plane, rounded))
    assert 1 <= after < before


def test_tiny_tiling_planes_are_left_alone():
    plane, source = torch.full((12, 40), 0.4 * CODE), torch.full((6, 20), 0.4 * CODE)
    off = torch.ones_like(source, dtype=torch.bool)
    assert torch.equal(round_to(plane, source, off, 0.1 * CODE, seamless="y"), plane)
    assert difference(round_to(plane, source, off, 0.1 * CODE), source).max() < 0.2
