"""Sizes from the widgets of a node, and the runs of the model that they need."""

from __future__ import annotations

import pytest
import torch
from supertile.images.io.picture import Picture
from supertile.images.size import Size, SizeError, runs_of_the_model
from supertile.images.upscale import upscale_image
from supertile.inference import Upscaler
from supertile.nodes.size import chosen_size


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"size": "model scale"}, (120, 80)),
        ({"size": "factor", "factor": 1.5}, (45, 30)),
        ({"size": "factor", "factor": 16.0}, (480, 320)),
        ({"size": "factor", "factor": 0.05}, (2, 1)),
        ({"size": "megapixels", "megapixels": 0.01}, (122, 82)),
        ({"size": "longest side", "longest_side": 32}, (32, 21)),
        ({"size": "longest side", "longest_side": 3840}, (3840, 2560)),
        ({"size": "exact", "width": 7, "height": 9}, (7, 9)),
    ],
)
def test_sizes(chosen, expected):
    assert chosen_size(chosen).of(30, 20, 4) == expected
    if chosen["size"] != "exact":
        assert chosen_size(chosen).of(20, 30, 4) == expected[::-1]


def test_sizes_of_another_name_are_refused():
    for chosen in (None, {"size": "8k"}):
        with pytest.raises(SizeError, match="not offered; choose model scale, factor"):
            chosen_size(chosen)


@pytest.mark.parametrize("value", [0, -3.0, float("nan")])
def test_linked_values_are_checked(value):
    with pytest.raises(SizeError, match=r"The factor is .*; it must be more than zero\."):
        chosen_size({"size": "factor", "factor": value})


@pytest.mark.parametrize("words", [None, "1x", "2x", "3x", "5x", "stretch:3x40", "stretch:70x3"])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_runs_are_those_of_the_library(enlarger, words, scale):
    model = enlarger(scale=scale)
    upscale_image(Picture(torch.rand(3, 6, 9)), Upscaler(model, device="cpu", precision="fp32", tile=None), size=words)
    target = Size.coerce(words).of(9, 6, scale)
    ran = [(width, height) for _, height, width in model.model.batches]
    assert list(runs_of_the_model(9, 6, target, scale)) == ran


def test_a_long_way_round_is_refused():
    with pytest.raises(SizeError, match="2147483647x1 pixels need"):
        list(runs_of_the_model(1000, 1000, (2**31 - 1, 1), 4))
