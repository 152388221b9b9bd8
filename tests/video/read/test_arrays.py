"""Arrays and tensors in memory as videos."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from supertile.tests.video.media import rgba, stacked
from supertile.video.errors import VideoError
from supertile.video.frames import Layout, Span
from supertile.video.read.arrays import ArrayReader
from supertile.video.read.open import SourceOptions, open_source


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_are_frames(channels: int, dtype: Any) -> None:
    all_images = [rgba(seed, channels=channels, dtype=dtype) for seed in range(3)]
    with ArrayReader(all_images, 24) as reader:
        given = list(reader)
    assert reader.info.layout == Layout("rgb", 8 * np.dtype(dtype).itemsize, alpha=channels == 4)
    assert (reader.info.frames, reader.info.time_base) == (3, Fraction(1, 24))
    assert all(np.array_equal(stacked(f), p) for f, p in zip(given, all_images, strict=True))
    assert [(f.pts, f.duration) for f in given] == [(0, 1), (1, 1), (2, 1)]


def test_tensors_are_frames() -> None:
    codes = torch.from_numpy(rgba(1, channels=3)).permute(2, 0, 1)
    for depth, step in ((8, 1), (16, 257)):
        (frame,) = ArrayReader([codes.float() / 255], 24, float_depth=depth)
        assert np.array_equal(stacked(frame), rgba(1, channels=3).astype(int) * step)
    (frame,) = ArrayReader(iter([codes]), 24)
    assert np.array_equal(stacked(frame), rgba(1, channels=3))
    (frame,) = ArrayReader([torch.tensor([-0.5, 0.5, 1.5])[:, None, None]], 24, float_depth=8)
    assert stacked(frame).tolist() == [[[0, 128, 255]]]


def test_frames_of_an_array_are_copies_and_taken_one_by_one() -> None:
    taken = []

    def all_images():
        buffer = rgba(0)
        for number in range(5):
            taken.append(number)
            buffer[:] = number
            yield buffer

    reader = open_source(all_images(), SourceOptions(frame_rate=5))
    iterator = iter(reader)
    first = next(iterator)
    assert taken == [0]
    second = next(iterator)
    assert taken == [0, 1]
    assert (int(first.planes[0][0, 0]), int(second.planes[0][0, 0])) == (0, 1)
    assert reader.info.frames is None
    reader.close()
    assert list(reader) == []


def test_a_span_of_arrays() -> None:
    all_images = [np.full((2, 2, 3), number, np.uint8) for number in range(10)]
    with ArrayReader(iter(all_images), 10, span=Span(0.2, 0.5)) as reader:
        assert [(int(f.planes[0][0, 0]), f.pts) for f in reader] == [(2, 2), (3, 3), (4, 4)]
    assert ArrayReader(all_images, 10, span=Span(0.2)).info.frames == 8
    with pytest.raises(VideoError, match="only 10"):
        ArrayReader(iter(all_images), 10, span=Span(3))


def test_arrays_that_will_not_do() -> None:
    with pytest.raises(VideoError, match="there are no frames"):
        ArrayReader([], 25)
    for bad in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        torch.zeros(5, 4, 3),
        "text",
        np.zeros((0, 4, 3), np.uint8),
    ):
        with pytest.raises(TypeError, match="a frame must be"):
            ArrayReader([bad], 25)
    reader = ArrayReader([rgba(1), rgba(2), rgba(3, 9, 9)], 25)
    with pytest.raises(VideoError, match="frame 3 differs"):
        list(reader)
    with pytest.raises(VideoError, match="frame 2 differs"):
        list(ArrayReader([rgba(1), rgba(2, dtype=np.uint16)], 25))
