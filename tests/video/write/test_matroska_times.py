"""Matroska counts milliseconds: times of a finer clock are rounded once, to the nearest."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from supertile.tests.video.media import frames, info
from supertile.video.frames import Layout
from supertile.video.write.encoder_options import EncoderOptions
from supertile.video.write.open import open_target


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize("base", [Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 24)])
def test_times_are_rounded_to_the_nearest_millisecond(tmp_path: Path, suffix: str, base: Fraction) -> None:
    path, pts = tmp_path / f"out{suffix}", [0, 1, 2, 7, 8, 100, 3001, 6007]
    source = info(time_base=base)
    sink = open_target(path, source, source.format, EncoderOptions())
    for frame in frames(Layout("yuv", 8, (1, 1)), 64, 48, pts, 6100):
        sink.write(frame)
    sink.finish()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base == Fraction(1, 1000)
        shown = [frame.pts for frame in container.decode(stream)]
    expected = [float(time * base * 1000) for time in pts]
    assert [abs(ms - exact) <= 0.5 for ms, exact in zip(shown, expected, strict=True)] == [True] * len(pts)
