"""Tiles cover the image, lie on the window grid, see enough around what they contribute, and join without a trace."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from supertile.inference.tiling import Axis, Geometry, plan_axis, plan_tiles, smallest_tile

thoroughly = settings(max_examples=300, deadline=None)


@st.composite
def geometries(draw) -> Geometry:
    grid = draw(st.sampled_from([1, 2, 5, 7, 8, 16, 48, 64]))
    return Geometry(grid, grid * draw(st.integers(1, 3)), draw(st.integers(0, 40)))


sizes = st.integers(1, 700)
tiles = st.integers(1, 400)


@thoroughly
@given(size=sizes, tile=tiles, geometry=geometries())
def test_tiles_of_an_axis(size, tile, geometry):
    axis = plan_axis(size, tile, geometry)
    if size <= tile:
        assert axis == Axis(size, size, size, (0,)), "an image no larger than a tile is one tile of its own size"
        return
    largest = max(tile, smallest_tile(geometry))
    assert axis.tile <= largest
    assert axis.padded >= size
    assert axis.origins[0] == 0
    assert axis.origins[-1] + axis.tile == axis.padded, "the last tile ends where the mirrored image does"
    assert all(origin % geometry.grid == 0 for origin in axis.origins)
    if len(axis.origins) > 1:
        assert axis.tile % geometry.multiple == 0
        assert axis.padded - size < geometry.grid, "no more is mirrored than the grid needs"
    for left, right in pairwise(axis.origins):
        assert 0 < right - left <= axis.tile - 2 * geometry.overlap, "each side of the seam has its context"


@thoroughly
@given(size=sizes, tile=tiles, geometry=geometries())
def test_no_fewer_tiles_would_do(size, tile, geometry):
    axis = plan_axis(size, tile, geometry)
    count = len(axis.origins)
    if count == 1:
        return
    largest = max(tile // geometry.multiple * geometry.multiple, smallest_tile(geometry))
    step = (largest - 2 * geometry.overlap) // geometry.grid * geometry.grid
    assert largest + (count - 2) * step < axis.padded, "one tile less, each as large and as far apart as allowed"


@thoroughly
@given(size=sizes, tile=tiles, geometry=geometries(), scale=st.integers(1, 4))
def test_shares_sum_to_one(size, tile, geometry, scale):
    axis = plan_axis(size, tile, geometry)
    total = torch.zeros(scale * size)
    for index, origin in enumerate(axis.origins):
        start, stop = axis.span(index)
        assert origin <= start < stop <= min(origin + axis.tile, size)
        share = axis.weights(index, scale)
        assert share.shape == (scale * (stop - start),)
        assert share.min() >= 0
        total[scale * start : scale * stop] += share
    torch.testing.assert_close(total, torch.ones(scale * size), atol=1e-6, rtol=0)


@thoroughly
@given(size=sizes, tile=tiles, geometry=geometries())
def test_what_a_tile_contributes_lies_within_its_context(size, tile, geometry):
    """At most a quarter of the context is spent on going over from one tile to the next."""
    axis = plan_axis(size, tile, geometry)
    for index, origin in enumerate(axis.origins):
        start, stop = axis.span(index)
        if index > 0:
            assert start - origin >= math.floor(geometry.overlap * 3 / 4)
        if index < len(axis.origins) - 1 and stop < size:
            assert origin + axis.tile - stop >= math.floor(geometry.overlap * 3 / 4)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(1, 60),
    grid=st.sampled_from([1, 3, 8]),
    multiple=st.integers(1, 2),
    overlap=st.integers(0, 9),
    scale=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_tiles_of_a_plain_enlargement_join_to_the_enlarged_image(
    height, width, tile, grid, multiple, overlap, scale, seed
):
    """Every pixel by itself: then it may not matter in which tile it was computed, nor that there were tiles."""
    plan = plan_tiles(height, width, tile, Geometry(grid, grid * multiple, overlap))
    image = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    padding = plan.padded[0] - height, plan.padded[1] - width
    padded = torch.nn.functional.pad(image, (0, padding[1], 0, padding[0]), value=99.0)  # must never show
    result = torch.zeros(2, height * scale, width * scale)

    def enlarge(part: torch.Tensor) -> torch.Tensor:
        return part.repeat_interleave(scale, -2).repeat_interleave(scale, -1)

    assert len(list(plan)) == len(plan)
    for at in plan:
        part = plan.cut(padded, *at)
        assert part.shape == (2, *plan.tile)
        plan.join(result, enlarge(part), *at, scale)
    torch.testing.assert_close(result, enlarge(image), atol=1e-6, rtol=0)


@thoroughly
@given(height=sizes, width=sizes, tile=tiles, geometry=geometries())
def test_a_plan_pads_both_sides_or_none(height, width, tile, geometry):
    """A tile of an image must fit the network's windows along a side that is not cut, too."""
    plan = plan_tiles(height, width, tile, geometry)
    if len(plan) == 1:
        return
    assert all(side % geometry.grid == 0 for side in (*plan.tile, *plan.padded))


@given(height=sizes, width=sizes, geometry=geometries())
def test_whole_images_are_one_tile(height, width, geometry):
    plan = plan_tiles(height, width, None, geometry)
    assert (len(plan), plan.tile, plan.padded) == (1, (height, width), (height, width))


@pytest.mark.parametrize(
    ("size", "tile", "geometry", "origins", "fitted"),
    [
        (200, 128, Geometry(1, 1, 32), (0, 45, 90), 110),  # 3 tiles of 110 share twice 64 or more: 330 - 130 = 200
        (257, 256, Geometry(16, 16, 32), (0, 96), 176),  # one pixel too large for one tile
        (1000, 256, Geometry(16, 16, 32), (0, 192, 384, 560, 752), 256),  # mirrored to 1008
        (100, 10, Geometry(1, 1, 8), (0, 8, 15, 23, 30, 38, 46, 53, 61, 68, 76), 24),  # raised to three overlaps
        (172, 100, Geometry(5, 5, 16), (0, 45, 90), 85),  # 80 would do but for the grid
        (65, 64, Geometry(64, 64, 0), (0, 64), 64),
    ],
)
def test_known_layouts(size, tile, geometry, origins, fitted):
    axis = plan_axis(size, tile, geometry)
    assert (axis.origins, axis.tile) == (origins, fitted)


def test_seams_are_ramps_in_the_middle_of_what_two_tiles_share():
    axis = plan_axis(160, 96, Geometry(16, 16, 16))
    assert (axis.origins, axis.tile) == ((0, 64), 96)
    assert axis.ramps == ((76, 84),)  # 64 to 96 is shared: ramp of a quarter around 80
    assert (axis.span(0), axis.span(1)) == ((0, 84), (76, 160))
    assert axis.weights(0, 1)[76:].tolist() == [pytest.approx(1 - (i + 0.5) / 8) for i in range(8)]
