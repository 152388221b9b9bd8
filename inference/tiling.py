"""Lay overlapping tiles over an image and join their results. Pure geometry, no network.

All tiles of an image have one size. Their origins lie on the network's window grid, so that a window of a tile is a
window of the image; the last tile of a row moves inwards by whole windows instead of shrinking. Around the area that a
tile contributes lies a halo that is computed and thrown away. Two tiles are blended over a narrow ramp, so that no edge
shows where they differ (channel attention sees another image in each tile).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """The tiles that a network can take, in pixels of the input.

    Attributes:
        grid: tile origins are multiples of it.
        multiple: the sides of a tile are multiples of it; itself a multiple of `grid`.
        overlap: the halo at each inner side of a tile, at least.
    """

    grid: int
    multiple: int
    overlap: int


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of an image.

    Attributes:
        size: pixels of the image.
        padded: pixels after mirroring at the end.
        tile: pixels of each tile.
        origins: the first pixel of each tile.
    """

    size: int
    padded: int
    tile: int
    origins: tuple[int, ...]

    @cached_property
    def ramps(self) -> tuple[tuple[float, float], ...]:
        """Start and stop of the ramp that blends tile i into tile i + 1, for each i.

        It lies in the middle of the pixels that both tiles hold and takes a quarter of them, or less where it would
        reach into the next ramp.
        """
        ramps = []
        for left, right in pairwise(self.origins):
            shared = left + self.tile - right
            middle, half = right + shared / 2, max(min(shared // 8, (right - left) / 2), 0)
            ramps.append((middle - half, middle + half))
        return tuple(ramps)

    def span(self, index: int) -> tuple[int, int]:
        """Return start and stop of the pixels of the image that tile `index` contributes to."""
        start = 0 if index == 0 else math.floor(self.ramps[index - 1][0])
        stop = self.size if index == len(self.origins) - 1 else math.ceil(self.ramps[index][1])
        return start, min(stop, self.size)

    def weights(self, index: int, scale: int) -> Tensor:
        """Return the weight of tile `index` at each output pixel of its span, (scale * length,) fp32.

        The weights of all tiles sum to 1 at every pixel.
        """
        start, stop = self.span(index)
        at = (torch.arange(start * scale, stop * scale, dtype=torch.float64) + 0.5) / scale
        weight = torch.ones_like(at)
        if index > 0:
            weight *= _ramp(at, *self.ramps[index - 1])
        if index < len(self.origins) - 1:
            weight *= 1 - _ramp(at, *self.ramps[index])
        return weight.float()


def _ramp(at: Tensor, start: float, stop: float) -> Tensor:
    if stop == start:
        return (at >= start).double()
    return ((at - start) / (stop - start)).clamp(0, 1)


def plan_axis(size: int, tile: int | None, geometry: Geometry, slack: int = 0) -> Axis:
    """Lay tiles of at most `tile` pixels (rounded to what the network takes) along `size` pixels.

    With `tile=None`, or for an image no larger than a tile and `slack` pixels, this is one tile of exactly the image's
    size, which the network pads as it does any image. Otherwise it is the smallest number of tiles, of the smallest
    size that this number allows, spread evenly: the pixels that the last tile would compute twice widen every halo
    instead.
    """
    if tile is None or size <= tile + slack:
        return Axis(size, size, size, (0,))
    grid, multiple = geometry.grid, geometry.multiple
    tile = smallest_tile(geometry) if tile < smallest_tile(geometry) else tile // multiple * multiple
    padded = max(_round_up(size, grid), tile)
    step = (tile - 2 * geometry.overlap) // grid * grid
    count = 1 + math.ceil((padded - tile) / step)
    if count == 1:
        return Axis(size, size, size, (0,)) if size <= tile else Axis(size, padded, tile, (0,))
    smallest = _round_up(math.ceil((padded + (count - 1) * 2 * geometry.overlap) / count), multiple)
    for fitted in range(smallest, tile + 1, multiple):  # rounding origins to the grid can cost one more multiple
        step = (fitted - 2 * geometry.overlap) // grid * grid
        if step > 0 and 1 + math.ceil((padded - fitted) / step) <= count:
            tile = fitted
            break
    last = padded - tile
    origins = tuple(min(round(i * last / (count - 1) / grid) * grid, last) for i in range(count))
    return Axis(size, padded, tile, origins)


def smallest_tile(geometry: Geometry) -> int:
    """Return the side of the smallest tile: it advances by its overlap at least, and by one step of the grid."""
    return _round_up(2 * geometry.overlap + max(geometry.grid, geometry.overlap), geometry.multiple)


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class TilePlan:
    """The tiles of an image, row by row, and the strips of an image that is computed whole.

    Two plans of the same tiles are equal, whatever their strips.

    Attributes:
        rows: the tiles along the height.
        columns: the tiles along the width.
        strip_rows: rows of the image in a strip, if the image is computed whole by a network that computes in strips;
            else None.
        transposed_strip_rows: the same for the transposed image, which self-ensembles compute too.
    """

    rows: Axis
    columns: Axis
    strip_rows: int | None = field(default=None, compare=False)
    transposed_strip_rows: int | None = field(default=None, compare=False)

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of every tile."""
        return self.rows.tile, self.columns.tile

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the image after mirroring at its lower and right edge."""
        return self.rows.padded, self.columns.padded

    def __len__(self) -> int:
        return len(self.rows.origins) * len(self.columns.origins)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the index of each tile along the rows and along the columns."""
        return ((i, j) for i in range(len(self.rows.origins)) for j in range(len(self.columns.origins)))

    def cut(self, padded: Tensor, row: int, column: int) -> Tensor:
        """Return a view of one tile of the padded image, (..., tile height, tile width)."""
        y, x = self.rows.origins[row], self.columns.origins[column]
        return padded[..., y : y + self.rows.tile, x : x + self.columns.tile]

    def join(self, result: Tensor, output: Tensor, row: int, column: int, scale: int) -> None:
        """Add a tile's output (C, s tile height, s tile width) to `result` (C, s height, s width), zeros at first."""
        if len(self) == 1:
            result.copy_(output[:, : result.shape[1], : result.shape[2]])
            return
        (top, bottom), (left, right) = self.rows.span(row), self.columns.span(column)
        y, x = self.rows.origins[row], self.columns.origins[column]
        inner = output[:, (top - y) * scale : (bottom - y) * scale, (left - x) * scale : (right - x) * scale]
        vertical, horizontal = (
            _weights_on(result.device, axis, index, scale) for axis, index in ((self.rows, row), (self.columns, column))
        )
        weights = vertical[:, None] * horizontal[None, :]
        target = result[:, top * scale : bottom * scale, left * scale : right * scale]
        target.addcmul_(inner.to(result), weights)


@lru_cache(maxsize=256)
def _weights_on(device: torch.device, axis: Axis, index: int, scale: int) -> Tensor:
    """Return the weights on the device, cached there: each upload would wait for it."""
    with torch.inference_mode(False):
        return axis.weights(index, scale).to(device)


def plan_tiles(height: int, width: int, tile: int | None, geometry: Geometry, slack: int = 0) -> TilePlan:
    """Lay out the tiles of an image of height x width; see `plan_axis`."""
    rows, columns = (plan_axis(side, tile, geometry, slack) for side in (height, width))
    if len(rows.origins) * len(columns.origins) > 1:
        # Where one side is cut and the other is not, the uncut side is padded too: tiles must fit the network.
        rows, columns = _padded(rows, geometry), _padded(columns, geometry)
    return TilePlan(rows, columns)


def _padded(axis: Axis, geometry: Geometry) -> Axis:
    if len(axis.origins) > 1:
        return axis
    padded = _round_up(axis.size, geometry.grid)
    return Axis(axis.size, padded, padded, (0,))
