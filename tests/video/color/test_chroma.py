"""The chroma filters undo each other and keep chroma where it lies."""

from __future__ import annotations

import pytest
import torch
from supertile.video.color import chroma


@pytest.mark.parametrize(("cosited", "taps"), [(True, [0.5, 1, 0.5]), (False, [-0.125, 0.125, 1, 1, 0.125, -0.125])])
def test_chroma_goes_up_and_down_by_the_filters_it_names(cosited: bool, taps: list[float]) -> None:
    c = torch.zeros(1, 9)
    c[0, 4] = 1
    for up, down, turn in [(chroma.up_columns, chroma.down_columns, False), (chroma.up_rows, chroma.down_rows, True)]:
        large = up(c.T if turn else c, 18, cosited)
        flat = large.flatten()
        start = 8 - len(taps) // 2 + (0 if cosited else 1)
        expected = torch.zeros(18)
        expected[start : start + len(taps)] = torch.tensor(taps)
        assert torch.allclose(flat, expected)
        assert torch.allclose(down(large, cosited).flatten(), c.flatten())


@pytest.mark.parametrize("cosited", [True, False])
def test_a_ramp_of_chroma_stays_a_ramp(cosited: bool) -> None:
    ramp = torch.arange(10.0)[None]
    up = chroma.up_columns(ramp, 20, cosited)[0, 2:-2]
    positions = (torch.arange(2, 18) - (0 if cosited else 0.5)) / 2
    assert torch.allclose(up, positions)
    assert torch.allclose(
        chroma.down_columns(torch.arange(20.0)[None], cosited)[0, 2:-2], 2 * ramp[0, 2:-2] + (not cosited) / 2
    )


@pytest.mark.parametrize("cosited", [True, False])
def test_the_finest_luma_pattern_leaves_nothing_in_chroma(cosited: bool) -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(16)[None]
    assert chroma.down_columns(stripes, cosited)[0, 2:-2].abs().max() < 1e-6
