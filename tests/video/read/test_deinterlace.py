"""Interlaced frames become progressive, one for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from supertile.tests.video.media import read, same
from supertile.video.read.file import VideoReader


def combed(width: int, height: int, moment: int) -> list[np.ndarray]:
    """A bar that moves between the two fields of a frame."""
    luma = np.full((height, width), 40, np.uint8)
    for field in (0, 1):
        left = 8 * moment + 4 * field
        luma[field::2, left : left + 16] = 200
    return [luma, *(np.full((height // 2, width // 2), 128, np.uint8) for _ in "uv")]


def combing(luma: np.ndarray) -> float:
    """How much neighboring lines differ, against lines two apart."""
    rows = luma.astype(float)
    return float(np.abs(rows[2:-2] - (rows[1:-3] + rows[3:-1]) / 2).mean())


def test_interlaced_frames_are_deinterlaced_one_for_one(make_video: Callable) -> None:
    frames = [combed(160, 96, moment) for moment in range(8)]
    options = {"x264-params": "tff=1:qp=4", "flags": "+ildct+ilme"}
    path = make_video("in.mkv", frames, codec="libx264", options=options, interlaced=True)
    plain, raw, _ = read(path, deinterlace="no")
    reader, auto, _ = read(path)
    assert plain.info.interlaced
    assert reader.info.interlaced
    assert combing(raw[4].planes[0].numpy()) > 5
    assert combing(auto[4].planes[0].numpy()) < 1
    for frames_given in (raw, auto):
        assert [frame.pts for frame in frames_given] == [40 * i for i in range(8)]
        assert [frame.duration for frame in frames_given] == [40] * 8


def test_progressive_frames_are_left_alone_unless_told(make_video: Callable) -> None:
    frames = [combed(160, 96, moment) for moment in range(5)]
    path = make_video("in.mkv", frames)
    reader, auto, _ = read(path)
    assert not reader.info.interlaced
    assert all(same(a, b) for a, b in zip(auto, frames, strict=True))
    _, treated, _ = read(path, deinterlace="yes")
    assert len(treated) == 5
    assert combing(treated[2].planes[0].numpy()) < 1 < combing(auto[2].planes[0].numpy())


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "yuv444p", "gbrp10le", "gray", "yuva420p"])
def test_deinterlacing_keeps_the_format(make_video: Callable, smooth: Callable, pix_fmt: str) -> None:
    path = make_video("in.mkv", [smooth(pix_fmt, 64, 48, seed) for seed in range(3)], pix_fmt)
    plain, _, _ = read(path)
    reader, frames, _ = read(path, deinterlace="yes")
    assert reader.info.layout == plain.info.layout
    assert len(frames) == 3
    assert len(frames[0].planes) == plain.info.layout.planes


def test_another_word_for_deinterlacing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="auto, yes, no"):
        VideoReader(tmp_path / "any.mkv", deinterlace="maybe")
