"""Find the values from black to white that reduce to a source, where adding what is missing does not lead to them.

Among all planes in [0, 1] that reduce to the source within a tolerance, the nearest one to a given plane is
clamp(plane + enlarged(asked)), where `asked` has one value for each of the source: what its place is asked for beyond
what it has, as the multiplier of that one condition. Ascending in the dual of this problem finds it. So pixels that
are black or white already need no rule of their own: what they cannot take stays in `asked`, and the others get it.

Only blocks around values that are off are computed, as many at once as there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .resample import resample, weights_of

_BLOCK = 8
_REACH = 4
"""Source pixels: the side of a block, and how far from a value that is off others are asked for something, too."""
_MARGIN = 4, 6
"""Source pixels before and after a block that the reduction of its pixels depends on: twice the kernel."""
_EXACT = 16.0
_GIVE = 0.01
"""Weigh a difference d from the source as `_EXACT` |d| + d^2 / (2 `_GIVE`). The first term leaves none where a solution
exists; the second spreads a large one over several values where none does."""
_PIXELS_AT_ONCE = 1 << 20


def reduce_to(
    plane: Tensor, source: Tensor, off: Tensor, tolerance: float, *, steps: int = 64, seamless: str = "none"
) -> Tensor:
    """Change a plane as little as it takes to reduce to its source around the values that are off.

    The reduction is that of `resample`, limited to [0, 1] as in any image file: what overshoots white is white. Where
    no values reduce to the source, the differences beyond the tolerance are made small and shared instead.

    The method is FISTA (Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009) on the dual, with
    restarts where a value has gone too far (O'Donoghue and Candes, 2015).

    Args:
        plane: (H', W') in [0, 1], larger than the source.
        source: (H, W) in [0, 1].
        off: (H, W) bool. Others are asked for something only within 4 source pixels of these.
        tolerance: how far from the source is near enough.
        steps: more come closer, where pixels of black and white leave few ways.
        seamless: axes along which the image tiles: "none", "x", "y" or "both".

    Returns:
        (H', W'), unchanged where nothing is off.
    """
    free = _dilated(off, seamless)
    blocks = _Blocks(plane, free, seamless)
    source, free = blocks.of(source), blocks.of(free)
    least = torch.where(free & (source < 1), -math.inf, 0.0)  # a source that is white cannot be exceeded
    most = torch.where(free & (source > 0), math.inf, 0.0)
    asked = ahead = torch.zeros_like(source)
    pace = torch.ones_like(source)
    for _ in range(steps):
        missing = source - blocks.reduced(ahead)
        before, asked = asked, F.softshrink(ahead + missing, tolerance).clamp(least, most)
        asked = asked - F.softshrink(asked, _EXACT) * (_GIVE / (1 + _GIVE))
        too_far = (asked - before) * (missing - tolerance * asked.sign()) < 0
        faster = torch.where(too_far, 1.0, (1 + (1 + 4 * pace * pace).sqrt()) / 2)
        ahead = asked + torch.where(too_far, 0.0, (pace - 1) / faster) * (asked - before)
        pace = faster
    return blocks.changed(asked)


class _Axis(NamedTuple):
    """Where the blocks lie along one axis, and how they are resampled; all have a row per block.

    Attributes:
        inner: (B, 8) source pixels of each block; beyond the source in the last one.
        around: (B, M) source pixels that its pixels are enlarged from.
        pixels: (B, N) pixels of the plane that it is reduced from.
        enlarge, reduce: (B, N, M) and (B, 8, N), the matrices.
    """

    inner: Tensor
    around: Tensor
    pixels: Tensor
    enlarge: Tensor
    reduce: Tensor

    @staticmethod
    def of(small: int, large: int, wrap: bool, device: torch.device) -> _Axis:
        """Lay blocks over a source of `small` pixels that is enlarged to `large`."""
        factor = large / small
        first = torch.arange(0, small, _BLOCK)[:, None]
        inner = first + torch.arange(_BLOCK)
        around = first + torch.arange(-_MARGIN[0], _BLOCK + _MARGIN[1])
        pixels = ((first.double() - 1.5) * factor).floor().long() + torch.arange(math.ceil((_BLOCK + 3) * factor) + 2)
        inside = pixels if wrap else pixels.clamp(0, large - 1)
        given, wanted = around[:, None], inside[:, :, None]
        enlarge = weights_of(given, wanted, small, large, wrap=wrap, dim=-1)
        given, wanted = pixels[:, None], inner.clamp(max=small - 1)[:, :, None]
        reduce = weights_of(given, wanted, large, small, wrap=wrap, dim=-1)
        if device.type != "mps":  # which has no float64; other devices might multiply float32 in TF32
            enlarge, reduce = enlarge.double(), reduce.double()
        around = around % small if wrap else around.clamp(0, small - 1)
        return _Axis(*(each.to(device) for each in (inner, around, inside % large, enlarge, reduce)))

    def take(self, blocks: Tensor) -> _Axis:
        """Return those of some blocks, by their numbers."""
        return _Axis(*(each[blocks] for each in self))


class _Blocks:
    """The blocks of a plane in which values of the source may be asked for something."""

    def __init__(self, plane: Tensor, free: Tensor, seamless: str) -> None:
        (self._height, self._width), (height, width) = free.shape, plane.shape
        self._rows = _Axis.of(self._height, height, seamless in ("y", "both"), plane.device)
        self._columns = _Axis.of(self._width, width, seamless in ("x", "both"), plane.device)
        self._plane, self._seamless = plane, seamless
        self._asked = self._whole(plane.new_zeros(free.shape))
        numbers = F.max_pool2d(self._whole(free).float()[None], _BLOCK)[0].nonzero()
        pixels = self._rows.pixels.shape[1] * self._columns.pixels.shape[1]
        self._parts = [tuple(part.unbind(1)) for part in numbers.split(max(1, _PIXELS_AT_ONCE // pixels))]
        self._inner = _at(self._rows.inner[numbers[:, 0]], self._columns.inner[numbers[:, 1]])

    def of(self, values: Tensor) -> Tensor:
        """Return the values (H, W) of the source's size that lie in the blocks (B, 8, 8)."""
        return self._whole(values)[self._inner]

    def reduced(self, asked: Tensor) -> Tensor:
        """Return what the plane reduces to (B, 8, 8), changed by what is asked (B, 8, 8)."""
        self._asked[self._inner] = asked
        results = []
        for down, right in self._parts:  # one at a time, to save memory
            rows, columns = self._rows.take(down), self._columns.take(right)
            around = self._asked[_at(rows.around, columns.around)].to(rows.enlarge.dtype)
            pixels = rows.enlarge @ around @ columns.enlarge.mT
            pixels.add_(self._plane[_at(rows.pixels, columns.pixels)]).clamp_(0, 1)
            results.append((rows.reduce @ pixels @ columns.reduce.mT).to(asked.dtype))
        return torch.cat(results)

    def changed(self, asked: Tensor) -> Tensor:
        """Return the whole plane, changed by what is asked (B, 8, 8)."""
        self._asked[self._inner] = asked
        size = self._plane.shape[1], self._plane.shape[0]
        change = resample(self._asked[: self._height, : self._width], size, seamless=self._seamless)
        return change.add_(self._plane).clamp_(0, 1)

    def _whole(self, values: Tensor) -> Tensor:
        """Return values (H, W) with zeros below and to the right, so that the last blocks are whole."""
        return F.pad(values, (0, -self._width % _BLOCK, 0, -self._height % _BLOCK))


def _at(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    return rows[:, :, None], columns[:, None, :]


def _dilated(off: Tensor, seamless: str) -> Tensor:
    """Return where (H, W) a value that is off is at most `_REACH` pixels away along each axis."""
    for axis, name in ((0, "y"), (1, "x")):
        size = off.shape[axis]
        at = torch.arange(-_REACH, size + _REACH, device=off.device)
        at = at % size if seamless in (name, "both") else at.clamp(0, size - 1)
        off = off.index_select(axis, at).unfold(axis, 2 * _REACH + 1, 1).any(-1)
    return off
