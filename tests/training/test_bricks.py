"""The texture of ComfyUI's example is what its code draws, and it wraps around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from supertile.training.bricks import draw_bricks

FILE = Path(__file__).resolve().parents[2] / "web" / "examples" / "bricks.png"


def test_the_file_is_what_is_drawn():
    drawn = np.asarray(draw_bricks(np.random.default_rng(3), 256), np.int16)
    assert np.abs(drawn - np.asarray(Image.open(FILE), np.int16)).max() <= 1  # other builds of the FFT


def test_edges_are_places_like_others():
    image = np.asarray(draw_bricks(np.random.default_rng(1), 128), np.float32)
    for axis in (0, 1):
        steps = np.abs(np.roll(image, -1, axis) - image).mean((1 - axis, 2))
        assert steps[-1] < np.quantile(steps, 0.95)
