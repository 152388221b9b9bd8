"""Where tiles lie in an image, how they overlap, and how their results join. Pure geometry, no network.

All tiles of an image have one size. Their origins lie on the network's window grid, so that a window of a tile is a
window of the image; the last tile of a row moves inwards by whole windows instead of shrinking. Around what a tile
contributes there is context that is computed and thrown away, and between two tiles a narrow ramp from one to the
other, so that where they differ (channel attention sees another image in each tile) no edge shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """What a network asks of its tiles, in pixels of the input.

    `grid`: tile origins are multiples of it. `multiple`: so are the sides of a tile; itself a multiple of `grid`.
    `overlap`: least context at each inner side of a tile.
    """

    grid: int
    multiple: int
    overlap: int


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of an image.

    `size` pixels of the image, mirrored up to `padded`; tiles of `tile` pixels begin at `origins`.
    """

    size: int
    padded: int
    tile: int
    origins: tuple[int, ...]

    @cached_property
    def ramps(self) -> tuple[tuple[float, float], ...]:
        """Between tile i and i + 1 the result goes over from one to the other in [start, stop), in the middle of what
        they share, over a quarter of it but no farther than where the ramps beside it begin."""
        ramps = []
        for left, right in pairwise(self.origins):
            shared = left + self.tile - right
            middle, half = right + shared / 2, max(min(shared // 8, (right - left) / 2), 0)
            ramps.append((middle - half, middle + half))
        return tuple(ramps)

    def span(self, index: int) -> tuple[int, int]:
        """The first and one past the last pixel of the image to which tile `index` contributes."""
        start = 0 if index == 0 else math.floor(self.ramps[index - 1][0])
        stop = self.size if index == len(self.origins) - 1 else math.ceil(self.ramps[index][1])
        return start, min(stop, self.size)

    def weights(self, index: int, scale: int) -> Tensor:
        """The share of tile `index` in each output pixel of its span, (scale * length,) fp32; shares sum to 1."""
        start, stop = self.span(index)
        at = (torch.arange(start * scale, stop * scale, dtype=torch.float64) + 0.5) / scale
        share = torch.ones_like(at)
        if index > 0:
            share *= _rise(at, *self.ramps[index - 1])
        if index < len(self.origins) - 1:
            share *= 1 - _rise(at, *self.ramps[index])
        return share.float()


def _rise(at: Tensor, start: float, stop: float) -> Tensor:
    if stop == start:
        return (at >= start).double()
    return ((at - start) / (stop - start)).clamp(0, 1)


def plan_axis(size: int, tile: int | None, geometry: Geometry) -> Axis:
    """Lay tiles of at most `tile` pixels (rounded to what the network takes) along `size` pixels.

    `tile=None`, or an image no larger than a tile, gives one tile of exactly the image's size, which the network
    pads as it does for any image. Otherwise the fewest tiles that fit, of the smallest size that does with as many,
    spread evenly: what the last one would compute twice goes into everybody's context.
    """
    if tile is None or size <= tile:
        return Axis(size, size, size, (0,))
    grid, multiple = geometry.grid, geometry.multiple
    tile = smallest_tile(geometry) if tile < smallest_tile(geometry) else tile // multiple * multiple
    padded = max(_up(size, grid), tile)
    step = (tile - 2 * geometry.overlap) // grid * grid
    count = 1 + math.ceil((padded - tile) / step)
    if count == 1:
        return Axis(size, size, size, (0,)) if size <= tile else Axis(size, padded, tile, (0,))
    least = _up(math.ceil((padded + (count - 1) * 2 * geometry.overlap) / count), multiple)
    for fitted in range(least, tile + 1, multiple):  # origins round to the grid, which can cost one more multiple
        step = (fitted - 2 * geometry.overlap) // grid * grid
        if step > 0 and 1 + math.ceil((padded - fitted) / step) <= count:
            tile = fitted
            break
    last = padded - tile
    origins = tuple(min(round(i * last / (count - 1) / grid) * grid, last) for i in range(count))
    return Axis(size, padded, tile, origins)


def smallest_tile(geometry: Geometry) -> int:
    """The smallest tile that is laid: it advances by its overlap at least, and by one step of the grid."""
    return _up(2 * geometry.overlap + max(geometry.grid, geometry.overlap), geometry.multiple)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class TilePlan:
    """The tiles of an image, row by row."""

    rows: Axis
    columns: Axis

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of every tile."""
        return self.rows.tile, self.columns.tile

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the image with what is mirrored at its lower and right edge."""
        return self.rows.padded, self.columns.padded

    def __len__(self) -> int:
        return len(self.rows.origins) * len(self.columns.origins)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Index along the rows and along the columns of each tile."""
        return ((i, j) for i in range(len(self.rows.origins)) for j in range(len(self.columns.origins)))

    def cut(self, padded: Tensor, row: int, column: int) -> Tensor:
        """A view of one tile of the padded image, (..., tile height, tile width)."""
        y, x = self.rows.origins[row], self.columns.origins[column]
        return padded[..., y : y + self.rows.tile, x : x + self.columns.tile]

    def join(self, result: Tensor, output: Tensor, row: int, column: int, scale: int) -> None:
        """Add a tile's output (C, s tile height, s tile width) to `result` (C, s height, s width), at first 0."""
        if len(self) == 1:
            result.copy_(output[:, : result.shape[1], : result.shape[2]])
            return
        (top, bottom), (left, right) = self.rows.span(row), self.columns.span(column)
        y, x = self.rows.origins[row], self.columns.origins[column]
        part = output[:, (top - y) * scale : (bottom - y) * scale, (left - x) * scale : (right - x) * scale]
        vertical, horizontal = (
            _shares(axis, index, scale, result.device) for axis, index in ((self.rows, row), (self.columns, column))
        )
        shares = vertical[:, None] * horizontal[None, :]
        target = result[:, top * scale : bottom * scale, left * scale : right * scale]
        target.addcmul_(part.to(result), shares)


@lru_cache(maxsize=256)
def _shares(axis: Axis, index: int, scale: int, device: torch.device) -> Tensor:
    """Kept where they are used: a device would be waited for each time they are brought there."""
    with torch.inference_mode(False):
        return axis.weights(index, scale).to(device)


def plan_tiles(height: int, width: int, tile: int | None, geometry: Geometry) -> TilePlan:
    """Lay out the tiles of an image of height x width; see `plan_axis`."""
    rows, columns = plan_axis(height, tile, geometry), plan_axis(width, tile, geometry)
    if len(rows.origins) * len(columns.origins) > 1:
        # One side is whole, the other is not: the whole one is padded here too, as its tiles must fit the network.
        rows, columns = _padded(rows, geometry), _padded(columns, geometry)
    return TilePlan(rows, columns)


def _padded(axis: Axis, geometry: Geometry) -> Axis:
    if len(axis.origins) > 1:
        return axis
    padded = _up(axis.size, geometry.grid)
    return Axis(axis.size, padded, padded, (0,))
