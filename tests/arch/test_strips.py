"""Images in strips are images at once, for every stage and every network."""

from __future__ import annotations

import weakref
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from supertile.arch.layers import reflect_to
from supertile.arch.strip_layers import conv2d, conv2d_rows
from supertile.arch.strips import (
    StripPlan,
    Strips,
    between_steps,
    compute_rows,
    crop,
    gather,
    reflect_pad,
    regroup,
    split_rows,
    strip_bounds,
)
from supertile.tests.arch.test_networks import BUILD
from supertile.weights.loader import load_model
from torch import Tensor

HEIGHTS = st.integers(1, 23)
CUTS = st.lists(st.integers(1, 22), max_size=8)


def strips(x: Tensor, cuts: list[int]) -> Strips:
    inner = sorted({at for at in cuts if at < x.shape[1]})
    return split_rows(x, [0, *inner, x.shape[1]])


def pixels(height: int, channels: int = 3) -> Tensor:
    return torch.randn(2, height, 5, channels, generator=torch.Generator().manual_seed(height))


def together_again(x: Strips) -> Tensor:
    height, parts = x.height, list(x)
    assert all(part.shape[1] for part in parts)
    assert sum(part.shape[1] for part in parts) == height
    return torch.cat(parts, 1)


# --- stages ------------------------------------------------------------------------------------------------------


@given(height=HEIGHTS, cuts=CUTS, kernel=st.sampled_from([(1, 1), (3, 1), (5, 1), (5, 3)]))
@settings(deadline=None)
@torch.inference_mode()
def test_a_convolution(height, cuts, kernel):
    size, dilation = kernel
    conv = torch.nn.Conv2d(3, 4, size, padding=dilation * (size // 2), dilation=dilation)
    x = pixels(height)
    expected = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(together_again(conv2d(strips(x, cuts), conv)), expected, atol=1e-6, rtol=1e-5)
    bounds = [0, *sorted({at for at in cuts if at < height}), height]
    rows = torch.cat([conv2d_rows(x, conv, a, b) for a, b in pairwise(bounds)], 1)
    torch.testing.assert_close(rows, expected, atol=1e-6, rtol=1e-5)


@given(height=HEIGHTS, cuts=CUTS, more=st.integers(0, 60))
@settings(deadline=None)
def test_a_mirror(height, cuts, more):
    x = pixels(height)
    assert torch.equal(together_again(reflect_pad(strips(x, cuts), height + more)), reflect_to(x, height + more, 5))


@given(height=HEIGHTS, cuts=CUTS, kept=st.integers(1, 23))
def test_a_crop(height, cuts, kept):
    x = pixels(height)
    kept = min(kept, height)
    assert torch.equal(together_again(crop(strips(x, cuts), kept)), x[:, :kept])


@given(groups=st.integers(1, 6), multiple=st.integers(1, 5), cuts=CUTS)
def test_groups(groups, multiple, cuts):
    x = pixels(groups * multiple)
    parts = list(regroup(strips(x, cuts), multiple))
    assert all(part.shape[1] % multiple == 0 for part in parts)
    assert torch.equal(torch.cat(parts, 1), x)


@given(height=HEIGHTS, cuts=CUTS, others=CUTS)
def test_two_images(height, cuts, others):
    x, y = pixels(height), pixels(height) * 2
    assert torch.equal(together_again(strips(x, cuts) + strips(y, others)), x + y)


@given(height=HEIGHTS, cuts=CUTS, readers=st.integers(1, 4), ahead=st.integers(0, 3))
def test_any_number_of_readers(height, cuts, readers, ahead):
    """Each gets every strip once, however far the others are."""
    x = pixels(height)
    shared = strips(x, cuts)
    copies = [shared.map(lambda strip, k=k: strip + k) for k in range(readers)]
    first = iter(copies[0])
    seen = [strip for _, strip in zip(range(ahead), first, strict=False)]
    for k in reversed(range(1, readers)):
        assert torch.equal(together_again(copies[k]), x + k)
    assert torch.equal(torch.cat([*seen, *first], 1), x)


def test_a_strip_is_computed_once_and_waits_only_for_readers_that_are_behind():
    computed = []
    shared = compute_rows(
        lambda start, stop: computed.append(start) or torch.zeros(1, stop - start, 1, 1), [0, 1, 2, 3]
    )
    ahead, behind = iter(shared), iter(shared)
    held = weakref.ref(next(ahead))
    assert held() is not None
    next(behind)
    assert held() is None
    assert len(list(ahead)) == len(list(behind)) == 2
    assert computed == [0, 1, 2]


@pytest.mark.parametrize(
    "late",
    [
        iter,
        lambda x: x + x,
        lambda x: x.map(torch.neg),
        lambda x: x.filter_map(torch.neg),
        lambda x: conv2d(x, torch.nn.Conv2d(3, 3, 1)),
        lambda x: crop(x, 1),
        lambda x: regroup(x, 1),
        lambda x: reflect_pad(x, 9),
    ],
)
def test_a_late_reader_is_refused_when_it_registers(late):
    shared = strips(pixels(4), [2])
    next(iter(shared))
    with pytest.raises(RuntimeError, match="being read already"):
        late(shared)


def test_a_hook_is_called_before_and_after_every_step():
    called: list[int] = []
    chain = iter(strips(pixels(3), [1, 2]).map(torch.neg).filter_map(torch.neg))
    with between_steps(lambda: called.append(1)):
        next(chain)
    assert len(called) == 2 * 3  # of the rows, the map and the filter
    next(chain)
    assert len(called) == 2 * 3


def test_hooks_of_contexts_in_each_other_are_all_called():
    called: list[str] = []
    chain = iter(strips(pixels(3), [1, 2]))
    with between_steps(lambda: called.append("outer")):
        with between_steps(lambda: called.append("inner")):
            next(chain)
        assert called == ["outer", "inner"] * 2
        next(chain)
    next(chain)
    assert called == ["outer", "inner"] * 2 + ["outer"] * 2


@given(height=HEIGHTS, cuts=CUTS)
def test_joining_where_it_comes_from(height, cuts):
    x = pixels(height)
    expected, seen = x + 1, []
    result = gather(strips(x, cuts).map(lambda part: part + 1), StripPlan(report=seen.append), into=x)
    assert torch.equal(result, expected)
    assert sum(seen) == height


@given(height=st.integers(1, 70), rows=st.none() | st.integers(1, 80), first=st.integers(0, 3))
def test_strips_begin_on_the_grid_and_are_about_as_high_as_asked(height, rows, first):
    bounds = strip_bounds(height, rows, first, 4)
    assert (bounds[0], bounds[-1]) == (0, height)
    assert all(a < b for a, b in pairwise(bounds))
    assert all(at % 4 == first for at in bounds[1:-1])
    if rows is None:
        assert bounds == [0, height]
    else:
        assert max(b - a for a, b in pairwise(bounds)) <= max(rows, 4) + first


def test_zeros_are_where_the_image_ends_and_nowhere_else():
    conv = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    torch.nn.init.ones_(conv.weight)
    sums = together_again(conv2d(strips(torch.ones(1, 6, 6, 1), [2, 4]), conv))[0, :, :, 0]
    assert sums[:, 2].tolist() == [6, 9, 9, 9, 9, 6]
    assert torch.equal(sums, F.conv2d(torch.ones(1, 1, 6, 6), conv.weight, padding=1)[0, 0])


# --- networks ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def by_strips(network: torch.nn.Module, image: Tensor, rows: int | None) -> Tensor:
    parts = list(network.strips(image, StripPlan(rows)))
    return torch.cat(parts, 1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("rows", [1, 16, 40])
@torch.inference_mode()
def test_every_golden_network_gives_the_whole_image(golden, rows):
    network = load_model(golden.path, **golden.options).model
    image = torch.rand(3, golden.io["input"].shape[1], 45, 22, generator=torch.Generator().manual_seed(0))
    whole = network(image)
    assert (by_strips(network, image, rows) - whole).abs().max() <= 1e-5
    assert (by_strips(network, golden.io["input"], rows) - golden.io["output"]).abs().max() <= golden.limit


@pytest.mark.parametrize("name", list(BUILD))
@given(height=st.integers(1, 40), width=st.integers(1, 30), rows=st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_any_size_in_any_strips(randomized, name, height, width, rows):
    network = randomized(BUILD[name]())
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(width))
    with torch.inference_mode():
        whole = network(image)
    assert (by_strips(network, image, rows) - whole).abs().max() <= 2e-5


@pytest.mark.parametrize("name", list(BUILD))
def test_gradients_are_those_of_the_whole_image(randomized, name):
    network = randomized(BUILD[name]()).requires_grad_(True)
    image = torch.rand(1, 3, 20, 14)

    def gradients(rows: int | None) -> list[Tensor]:
        network.zero_grad()
        sum(part.square().sum() for part in network.strips(image, StripPlan(rows))).backward()
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    expected = gradients(None)
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for whole, in_strips in zip(expected, gradients(4), strict=True):
        torch.testing.assert_close(in_strips, whole, atol=1e-5 * largest, rtol=1e-3)


@pytest.mark.parametrize("name", list(BUILD))
@torch.inference_mode()
def test_every_sweep_is_reported(randomized, name):
    network = randomized(BUILD[name]())
    rows: list[int] = []
    parts = list(network.strips(torch.rand(1, 3, 61, 16), StripPlan(8, rows.append)))
    assert sum(rows) == network.work(61)
    assert len(rows) > 5
    assert len(parts) > 1
