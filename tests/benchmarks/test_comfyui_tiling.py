"""ComfyUI's way of tiling: where tiles lie, and that they join."""

from __future__ import annotations

import pytest
import torch
from supertile.benchmarks.comfyui_tiling import spans, tiles, upscale


def test_tiles_lie_every_480_pixels_and_the_last_is_what_is_left():
    assert spans(512) == [(0, 512)]
    assert spans(513) == [(0, 512), (480, 33)]
    assert spans(1000) == [(0, 512), (480, 512), (960, 40)]
    assert tiles(300, 1000) == [(300, 512), (300, 512), (300, 40)]


@pytest.mark.parametrize("size", [(40, 30), (64, 64), (65, 150), (200, 129)])
def test_a_network_that_sees_single_pixels_gives_the_whole_image(size):
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    seen = []

    def enlarge(tile):
        seen.append(tuple(tile.shape[2:]))
        return tile.repeat_interleave(2, 2).repeat_interleave(2, 3)

    result = upscale(image, enlarge, 2, tile=64, overlap=16)
    torch.testing.assert_close(result, image.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-12, rtol=0)
    assert seen == tiles(*size, tile=64, overlap=16)
