"""Choose which way pixels are rounded, where the nearest codes together reduce to a value that is not the source."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .resample import resample, weights_of

_REACH = 4
"""Source pixels: a pixel that a value is reduced from changes no value farther away."""
_CHANGES = 64
"""At most so many for a value."""


def round_to(plane: Tensor, source: Tensor, off: Tensor, tolerance: float, *, seamless: str = "none") -> Tensor:
    """Move pixels to other codes of 8 bits, at most one code from where they are, so that values reduce to the source.

    One pixel at a time is moved: the one that brings the values around nearest. A value and its surroundings stay as
    they are unless fewer values are off afterwards. This is for few values: they are treated one after another.

    Args:
        plane: (H', W') in [0, 1], larger than the source.
        source: (H, W) in [0, 1].
        off: (H, W) bool. The values that are to come nearer.
        tolerance: how far from the source is near enough, once the plane is rounded to 8 bits.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".

    Returns:
        (H', W'): `plane` itself where nothing was moved, and the codes where pixels were.
    """
    wraps = seamless in ("y", "both"), seamless in ("x", "both")
    if any(wrap and size <= 2 * _REACH for wrap, size in zip(wraps, source.shape, strict=True)):
        return plane  # so small that a value would be around itself
    exact, wanted = (each.double().cpu() * 255 for each in (plane, source))
    codes = exact.round()
    reduced = resample(codes, (source.shape[1], source.shape[0]), seamless=seamless).double()
    for place in off.nonzero().tolist():
        (rows, down, by_row), (columns, right, by_column) = map(_taps, place, source.shape, plane.shape, wraps)
        values, pixels = (rows[:, None], columns), (down[:, None], right)
        before = exact[pixels], codes[pixels], wanted[values], reduced[values]
        moves = _moves(*before, by_row, by_column, 255 * tolerance)
        codes[pixels] += moves
        reduced[values] += by_row @ moves @ by_column.T
    return torch.where((codes == exact.round()).to(plane.device), plane, (codes / 255).to(plane))


def _moves(
    exact: Tensor, codes: Tensor, wanted: Tensor, reduced: Tensor, by_row: Tensor, by_column: Tensor, tolerance: float
) -> Tensor:
    """Return by how many codes pixels (P, Q) are to move, zeros unless fewer values are off then.

    Args:
        exact, codes: (P, Q), where pixels are and what they are rounded to.
        wanted, reduced: (V, W), values of the source and what the pixels reduce to.
        by_row, by_column: (V, P) and (W, Q), the weights of pixels in values.
        tolerance: in codes, as all of these.
    """

    def excess(reduced: Tensor) -> Tensor:
        return ((wanted - reduced.clamp(0, 255)).abs() - tolerance).clamp_min_(0)

    moves, either = torch.zeros_like(codes), torch.tensor([-1.0, 1.0]).double()[:, None, None]
    weights = by_row.T[:, None, :, None] * by_column.T[None, :, None, :]
    before = excess(reduced)
    least = before.square().sum()
    for _ in range(_CHANGES):
        moved = codes + moves + either
        distance = (moved - exact).abs()
        costs = excess(reduced + either[..., None, None] * weights).square().sum((-2, -1))
        costs[(moved < 0) | (moved > 255) | (distance > 1) | (costs >= least)] = math.inf
        choice = (costs + 1e-6 * distance).argmin()  # of equal ones that which changes least
        if costs.view(-1)[choice].isinf():
            break
        least = costs.view(-1)[choice]
        way, row, column = (int(i) for i in torch.unravel_index(choice, costs.shape))
        moves[row, column] += either[way, 0, 0]
        reduced = reduced + either[way] * weights[row, column]
    return moves if excess(reduced).count_nonzero() < before.count_nonzero() else torch.zeros_like(moves)


def _taps(place: int, small: int, large: int, wrap: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return along an axis the values (V) around one, the pixels (P) that it is reduced from, their weights (V, P)."""
    values = torch.arange(place - _REACH, place + _REACH + 1)
    values = values if wrap else values[(values >= 0) & (values < small)]
    first, last = (int(values[0]) - 2) * large / small, (int(values[-1]) + 3) * large / small
    pixels = torch.arange(math.floor(first), math.ceil(last) + 1)
    weights = weights_of(pixels, values[:, None], large, small, wrap=wrap, dim=1).double()
    given = weights[values == place][0] != 0
    return values % small, pixels[given] % large, weights[:, given]
