"""The planner: strips decided once, with the tiles; and what gets smaller when memory runs out."""

from __future__ import annotations

import pytest
import torch
from spandrel import ModelTiling
from supertile.inference import Upscaler, memory
from supertile.inference.errors import OutOfMemoryError
from supertile.inference.planner import STEPS_OF_WHOLE_IMAGE, Planner

CPU = torch.device("cpu")


def planner(model, **options) -> Planner:
    defaults = {"tile": "auto", "overlap": "auto", "batch": "auto", "seamless": "none", "self_ensemble": False}
    return Planner(model, CPU, torch.float32, **{**defaults, **options})


@pytest.fixture
def strips_of_64(monkeypatch):
    monkeypatch.setattr(memory, "strip_rows", lambda model, width, device: 64)


def test_a_whole_image_has_strips_and_tiles_have_none(vapsr, enlarger, strips_of_64):
    assert planner(vapsr).plan(200, 100).strip_rows == 64
    assert planner(vapsr, tile=96).plan(90, 90).strip_rows == 64, "an image no larger than a tile"
    assert planner(vapsr, tile=96).plan(200, 100).strip_rows is None
    assert planner(enlarger(), tile="whole").plan(200, 100).strip_rows is None, "unknown networks have no strips"


def test_a_self_ensemble_plans_the_transposed_image_too(vapsr, monkeypatch):
    monkeypatch.setattr(memory, "strip_rows", lambda model, width, device: 6400 // width)
    plan = planner(vapsr, self_ensemble=True).plan(400, 100)
    assert (plan.strip_rows, plan.transposed_strip_rows) == (64, 16)
    assert planner(vapsr).plan(400, 100).transposed_strip_rows is None


def test_plans_of_the_same_tiles_are_equal_whatever_their_strips(vapsr, strips_of_64, monkeypatch):
    before = planner(vapsr).plan(200, 100)
    monkeypatch.setattr(memory, "strip_rows", lambda model, width, device: 32)
    after = planner(vapsr).plan(200, 100)
    assert before == after
    assert before.strip_rows != after.strip_rows


def test_strips_are_decided_once_for_each_image(vapsr, strips_of_64, monkeypatch):
    """Not once more when the image is computed, when other memory may be free."""
    asked = []
    fitting_rows = memory.fitting_rows
    monkeypatch.setattr(memory, "fitting_rows", lambda *of: asked.append(of[1:3]) or fitting_rows(*of))
    upscaler = Upscaler(vapsr, device="cpu", precision="fp32")
    list(upscaler.stream(torch.rand(3, 200, 100) for _ in range(3)))
    assert asked == [(200, 100)] * 3


def test_first_the_batch_then_the_strips_then_the_tile_get_smaller(vapsr, strips_of_64):
    error = torch.OutOfMemoryError()
    ours = planner(vapsr, tile="whole", batch=4, overlap=16)
    plan = ours.plan(200, 100)
    assert ours.shrink(plan, 4, error) == plan
    assert ours.batch_size(plan) == 2
    for rows in (32, 16):
        smaller = ours.shrink(plan, 1, error)
        assert smaller == plan
        assert smaller.strip_rows == rows == ours.plan(200, 100).strip_rows
        plan = smaller
    smaller = ours.shrink(plan, 1, error)
    assert smaller != plan
    assert smaller == ours.plan(200, 100)
    assert len(smaller) > 1
    assert max(smaller.tile) <= 100
    while max(smaller.tile) > 48:  # three overlaps
        smaller = ours.shrink(smaller, 1, error)
    with pytest.raises(OutOfMemoryError, match="not enough memory on cpu for a tile of 46x48 pixels") as raised:
        ours.shrink(smaller, 1, error)
    assert raised.value.__cause__ is error


def test_flatter_strips_hold_for_the_transposed_image(vapsr, strips_of_64):
    ours = planner(vapsr, tile="whole", self_ensemble=True)
    smaller = ours.shrink(ours.plan(200, 100), 1, torch.OutOfMemoryError())
    assert (smaller.strip_rows, smaller.transposed_strip_rows) == (32, 32)


def test_a_model_that_tiles_by_itself_is_never_given_tiles(described, enlarger):
    ours = planner(described(enlarger().model, tiling=ModelTiling.INTERNAL), tile=32)
    assert len(ours.plan(300, 200)) == 1
    with pytest.raises(OutOfMemoryError):
        ours.shrink(ours.plan(300, 200), 1, torch.OutOfMemoryError())


def test_steps_and_batches(vapsr, enlarger, strips_of_64):
    ours = planner(vapsr, tile="whole")
    large, small = ours.plan(600, 700), ours.plan(32, 32)
    assert (ours.steps(large), ours.batch_size(large)) == (STEPS_OF_WHOLE_IMAGE, 1)
    assert (ours.steps(small), ours.batch_size(small)) == (1, 8)
    tiled = planner(enlarger(), tile=96, batch=3)
    assert tiled.steps(tiled.plan(96, 160)) == len(tiled.plan(96, 160)) == 3
    assert tiled.batch_size(tiled.plan(96, 160)) == 3


@pytest.mark.parametrize(
    ("seamless", "margins"), [("none", (0, 0)), ("x", (0, 32)), ("y", (32, 0)), ("both", (32, 32))]
)
def test_a_seamless_image_is_continued_by_its_overlap(vapsr, seamless, margins):
    assert planner(vapsr, seamless=seamless).margins() == margins
