"""The nearest values that reduce to a source, compared with the same search over the whole image at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from supertile.inference.reduction import reduce_to
from supertile.inference.resample import resample
from torch import Tensor

TOLERANCE = 0.02 / 255


def page(height: int = 37, width: int = 42) -> Tensor:
    """Gray strokes, some black or white, as a source."""
    return resample(torch.rand(height // 3, width // 3, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.3,
                    (width, height)).clamp_(0, 1)  # fmt: skip


def difference(plane: Tensor, source: Tensor) -> Tensor:
    return (resample(plane, (source.shape[1], source.shape[0])).clamp(0, 1) - source).abs()


@pytest.mark.parametrize("size", [(84, 74), (126, 111), (168, 148), (75, 61)])
def test_what_is_off_everywhere_is_corrected_everywhere(size):
    source = page()
    plane = resample(source, size).clamp(0, 1) * 0.97
    reduced = reduce_to(plane, source, torch.ones_like(source, dtype=torch.bool), TOLERANCE)
    before, after = difference(plane, source), difference(reduced, source)
    assert before.max() > 6 / 255
    assert after.max() < 0.15 / 255
    assert reduced.min() >= 0
    assert reduced.max() <= 1


def test_the_change_is_as_small_as_it_can_be():
    """Without black and white it is the least-squares solution, which a dense matrix gives as well."""
    source = page(12, 12) * 0.4 + 0.3
    plane = torch.full((24, 24), 0.5)
    identity = torch.eye(24 * 24).view(-1, 24, 24)
    matrix = resample(identity, (12, 12)).view(24 * 24, -1).T.double()
    expected = torch.linalg.lstsq(matrix, (source - 0.5).double().flatten()[:, None], driver="gelsd").solution
    reduced = reduce_to(plane, source, torch.ones_like(source, dtype=torch.bool), 0.0)
    inside = (slice(6, -6),) * 2  # at the edges, enlarging is not quite the transpose of reducing
    torch.testing.assert_close((reduced - 0.5)[inside], expected.view(24, 24).float()[inside], atol=0.004, rtol=0)


def test_only_places_near_to_what_is_off_change():
    source = page()
    plane = resample(source, (84, 74)).clamp(0, 1) * 0.97
    off = torch.zeros_like(source, dtype=torch.bool)
    off[10, 20] = off[36, 0] = True
    reduced = reduce_to(plane, source, off, TOLERANCE)
    changed = F.max_pool2d((reduced != plane)[None].float(), 2)[0] > 0
    assert changed[10, 20]
    assert changed[36, 0]
    near = torch.zeros_like(off)
    near[10 - 6 : 10 + 7, 20 - 6 : 20 + 7] = near[36 - 6 :, :7] = True
    assert not changed[~near].any()
    assert difference(reduced, source)[off].max() < 0.1 / 255
    assert reduce_to(plane, source, torch.zeros_like(off), TOLERANCE).equal(plane)


@pytest.mark.parametrize(("axis", "shift"), [("x", (0, 5)), ("y", (3, 0)), ("both", (3, 5))])
def test_seamless_planes_wrap_around(axis, shift):
    source = page()
    plane = resample(source, (84, 74)).clamp(0, 1) * 0.97
    off = torch.zeros_like(source, dtype=torch.bool)
    off[0, 20] = off[18, 41] = True
    expected = reduce_to(plane, source, off, TOLERANCE, seamless=axis)
    large = [2 * each for each in shift]
    rolled = reduce_to(
        plane.roll(large, (0, 1)), source.roll(shift, (0, 1)), off.roll(shift, (0, 1)), TOLERANCE, seamless=axis
    )
    torch.testing.assert_close(rolled, expected.roll(large, (0, 1)), atol=1e-6, rtol=0)


def test_overshoots_beyond_white_are_no_difference():
    """A white source is not exceeded by what an image file cannot hold, so white pixels stay white to half a code."""
    source = torch.zeros(20, 20)
    source[:, :8] = 1
    plane = source.repeat_interleave(2, 0).repeat_interleave(2, 1)
    overshoot = resample(plane, (20, 20))[:, 6]
    assert overshoot.min() > 1.01
    off = torch.zeros_like(source, dtype=torch.bool)
    off[:, 6] = True
    assert reduce_to(plane, source, off, TOLERANCE)[:, :12].min() > 1 - 0.5 / 255


def test_parts_that_are_computed_after_each_other_change_nothing(monkeypatch):
    source = page()
    plane = resample(source, (84, 74)).clamp(0, 1) * 0.97
    off = difference(plane, source) > 4 / 255
    expected = reduce_to(plane, source, off, TOLERANCE)
    monkeypatch.setattr("supertile.inference.reduction._PIXELS_AT_ONCE", 1500)
    torch.testing.assert_close(reduce_to(plane, source, off, TOLERANCE), expected, atol=1e-6, rtol=0)
