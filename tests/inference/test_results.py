"""Finished images on their way to the caller, who alone holds them once they are yielded."""

from __future__ import annotations

import pytest
import torch
from supertile.inference.accelerator.transfers import Downloads
from supertile.inference.results import Results
from supertile.tests.inference.late_copies import LateCopies
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


def recompute(source: Tensor) -> Tensor:
    return source + 100


@pytest.fixture(params=["at once", "late"])
def downloads(request) -> Downloads | None:
    return Downloads(LateCopies()) if request.param == "late" else None


def test_images_are_cropped_and_clamped(downloads):
    results = Results(downloads, keep_on_device=False, check_finite=False)
    image = torch.arange(48.0).view(1, 6, 8) / 32
    expected = image[:, 1:5, 2:6].clamp(0, 1)
    results.add(image, torch.zeros(1), (1, 2), on_device=downloads is not None)
    [result] = results.take(recompute)
    assert torch.equal(result, expected)


def test_an_image_that_is_not_finite_is_computed_again(downloads):
    results = Results(downloads, keep_on_device=False, check_finite=True)
    for i, value in enumerate([0.5, float("nan"), float("inf"), 0.25]):
        source = torch.full((1,), float(i))
        results.add(torch.full((3, 2, 2), value), source, (0, 0), on_device=downloads is not None)
    assert [float(result.flatten()[0]) for result in results.take(recompute)] == [0.5, 101, 102, 0.25]


def test_some_may_stay_in_flight():
    results = Results(Downloads(LateCopies()), keep_on_device=False, check_finite=False)
    for _ in range(3):
        results.add(torch.zeros(3, 2, 2), torch.zeros(1), (0, 0), on_device=True)
    assert len(list(results.take(recompute, in_flight=1))) == 2
    assert len(list(results.take(recompute))) == 1


def test_nothing_else_holds_what_has_been_yielded(downloads):
    results = Results(downloads, keep_on_device=False, check_finite=True)
    for _ in range(3):
        results.add(torch.zeros(3, 2, 2), torch.zeros(1), (0, 0), on_device=downloads is not None)
    for result in results.take(recompute):
        storage = StorageWeakRef(result.untyped_storage())
        del result
        assert storage.expired()
