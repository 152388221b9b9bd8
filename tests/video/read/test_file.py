"""Video files in: times to the tick, time spans, damage, file objects, warnings."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from supertile.tests.video.media import VFR, arrays, read, same
from supertile.video.errors import VideoError
from supertile.video.frames import Span
from supertile.video.read.file import VideoReader

# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bf", ["0", "2"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_variable_frame_rate_is_exact(make_video: Callable, smooth: Callable, suffix: str, bf: str) -> None:
    frames = [smooth("yuv420p", 64, 48, seed) for seed in range(12)]
    path = make_video(
        f"in.{suffix}", frames, codec="libx264", pts=VFR, time_base=Fraction(1, 1000), last_duration=166,
        options={"bf": bf, "g": "5"},
    )  # fmt: skip
    reader, given, said = read(path)
    ms = [(f.pts * reader.info.time_base * 1000, f.duration * reader.info.time_base * 1000) for f in given]
    assert [pts for pts, _ in ms] == VFR
    assert [duration for _, duration in ms[:-1]] == [b - a for a, b in pairwise(VFR)]
    assert reader.report.repaired_pts == 0
    if bf == "0":  # PyAV writes no right end with B-frames
        assert ms[-1][1] == 166
        assert reader.report.missing_at_end is None
        assert said == []


def test_no_frame_is_lost_whatever_the_order_of_decoding(make_video: Callable, smooth: Callable) -> None:
    frames = [smooth("yuv420p", 64, 64, seed) for seed in range(23)]
    for codec, options in [
        ("libx264", {"bf": "3", "g": "9", "x264-params": "b-pyramid=normal:open-gop=1"}),
        ("libx265", {"x265-params": "log-level=none:bframes=4:keyint=8"}),
        ("libsvtav1", {"preset": "12", "svtav1-params": "keyint=10"}),
        ("libvpx-vp9", {"g": "7"}),
        ("mpeg2video", {"bf": "2"}),
    ]:
        _, given, _ = read(make_video(f"{codec}.mkv", frames, codec=codec, options=options))
        assert [frame.pts for frame in given] == [40 * i for i in range(23)], codec
        assert [frame.duration for frame in given] == [40] * 23, codec


def test_a_start_offset_stays(make_video: Callable, smooth: Callable) -> None:
    frames = [smooth("yuv420p", 64, 48)] * 3
    reader, given, _ = read(make_video("in.mkv", frames, pts=[100, 140, 180], time_base=Fraction(1, 1000)))
    assert [frame.pts for frame in given] == [100, 140, 180]
    assert (reader.info.start_pts, reader.info.duration) == (100, 120)


def test_a_single_frame_has_a_duration(make_video: Callable, smooth: Callable) -> None:
    for codec, suffix in [("libx264", "mp4"), ("ffv1", "mkv"), ("mpeg4", "avi")]:
        _, (frame,), _ = read(make_video(f"in.{suffix}", [smooth("yuv420p", 64, 48)], codec=codec))
        assert frame.duration > 0


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_start_and_end_cut_the_same_frames_out(make_video: Callable, smooth: Callable, codec: str) -> None:
    frames = [smooth("yuv420p", 64, 48, seed) for seed in range(40)]
    path = make_video(
        "in.mkv", frames, codec=codec, pts=range(5, 45), options={"g": "12", "bf": "3"} if codec != "ffv1" else {}
    )
    _, whole, _ = read(path)
    origin = whole[0].pts
    for start, end in [
        (0, None),
        (0.4, 0.8),
        (Fraction(1, 2), None),
        (None, 0.3),
        (0.41, 0.43),
        (0.47, 0.49),
        (1.56, 9),
        (0.6, 0.61),
    ]:
        first = origin + (start or 0) * 1000
        last = origin + (end if end is not None else 1000) * 1000
        wanted = [frame for frame in whole if first <= frame.pts < last]
        if not wanted:
            with pytest.raises(VideoError, match="no frame between"):
                VideoReader(path, span=Span(start, end))
            continue
        reader, given, said = read(path, span=Span(start, end))
        assert [frame.pts for frame in given] == [frame.pts for frame in wanted]
        assert all(same(a, arrays(b)) for a, b in zip(given, wanted, strict=True))
        assert reader.info.start_pts == wanted[0].pts
        assert given[-1].pts + given[-1].duration <= last
        assert said == []


@pytest.mark.parametrize(("start", "end"), [(-1, None), (2, 1), (1, 1), (float("nan"), None), (None, float("inf"))])
def test_a_span_that_is_none_is_refused(make_video: Callable, smooth: Callable, start: Any, end: Any) -> None:
    with pytest.raises(ValueError, match=r"start|end"):
        VideoReader(make_video("in.mkv", [smooth("yuv420p", 32, 32)]), span=Span(start, end))


def test_a_start_behind_the_end_is_an_error(make_video: Callable, smooth: Callable) -> None:
    with pytest.raises(VideoError, match=r"in\.mkv has no frame between 9 s and its end"):
        VideoReader(make_video("in.mkv", [smooth("yuv420p", 32, 32)] * 3), span=Span(9))


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "movflags"), [("mkv", ""), ("mp4", "faststart")])
def test_a_file_cut_short_is_reported(
    make_video: Callable, noise: Callable, tmp_path: Path, suffix: str, movflags: str
) -> None:
    frames = [noise("yuv420p", 64, 48, seed) for seed in range(50)]
    whole = make_video(
        f"whole.{suffix}", frames, codec="libx264", options={"g": "10"},
        container_options={"movflags": movflags} if movflags else {},
    )  # fmt: skip
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    reader, given, said = read(cut)
    assert 15 < len(given) < 35
    assert all(frame.duration > 0 for frame in given)
    end = (given[-1].pts + given[-1].duration) * reader.info.time_base
    assert reader.report.missing_at_end == 2 - end
    assert any("ends early" in sentence and str(cut) in sentence for sentence in said)
    assert read(whole)[0].report.missing_at_end is None


@pytest.mark.parametrize("bad", [0, 10, 27, 28, 29])
def test_damage_costs_the_frame_it_hits_and_no_other(
    make_video: Callable, noise: Callable, tmp_path: Path, bad: int
) -> None:
    # Frame threads hand an error out late, and those of the last packets together with frames that are whole.
    frames = [noise("gbrp", 64, 48, seed) for seed in range(30)]
    rgb = [[np.stack([p[2], p[0], p[1]], -1).reshape(48, -1)] for p in frames]
    whole = make_video("whole.mov", rgb, "rgb24", "png", size=(64, 48))
    with av.open(str(whole)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    data[positions[bad] : positions[bad] + 40] = bytes(40)
    broken = tmp_path / "broken.mov"
    broken.write_bytes(data)
    reader, given, said = read(broken)
    step = given[1].duration
    times = {frame.pts // step: frame for frame in given}
    intact = [i for i in times if same(times[i], [frames[i][c] for c in (2, 0, 1)])]
    assert intact == [i for i in range(30) if i != bad]  # at their own time
    if bad != 29:  # FFmpeg keeps an error of the very last packet to itself
        assert reader.report.corrupt_frames + reader.report.undecodable_packets == 1
        assert sum("is damaged" in sentence for sentence in said) == 1
    assert any("declares 30 frames, but only 29" in sentence for sentence in said)
    assert all(str(broken) in sentence for sentence in said)


def test_noise_in_a_transport_stream_never_raises(make_video: Callable, noise: Callable, tmp_path: Path) -> None:
    whole = make_video(
        "whole.ts", [noise("yuv420p", 64, 48, s) for s in range(20)], codec="libx264", options={"g": "5"}
    )
    for seed in (0, 1, 2, 3):
        generator = np.random.default_rng(seed)
        data = bytearray(whole.read_bytes())
        for position in generator.integers(len(data) // 4, len(data), 150):
            data[position] ^= 1 << int(position) % 8
        broken = tmp_path / f"{seed}.ts"
        broken.write_bytes(data)
        _, given, said = read(broken)
        pts = [frame.pts for frame in given]
        assert pts == sorted(set(pts))
        assert all(frame.duration > 0 and frame.planes[0].shape == (48, 64) for frame in given)
        assert said


def test_another_size_on_the_way_is_brought_back(make_video: Callable, smooth: Callable, tmp_path: Path) -> None:
    small = make_video("small.ts", [smooth("yuv420p", 64, 48, s) for s in range(10)], codec="libx264")
    large = make_video("large.ts", [smooth("yuv420p", 96, 64, s) for s in range(10)], codec="libx264")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    reader, given, said = read(joined)
    assert len(given) == 20
    assert {frame.planes[0].shape for frame in given} == {(48, 64)}
    assert reader.report.resized_frames == 10
    assert reader.report.repaired_pts >= 1  # the second part's clock began anew
    pts = [frame.pts for frame in given]
    assert pts == sorted(set(pts))
    assert max(frame.duration for frame in given) * reader.info.time_base < Fraction(1, 4)
    assert sum("96x64" in sentence for sentence in said) == 1


# --- file objects, warnings, life -----------------------------------------------------------------------------------


def test_file_objects_are_read_from_their_start_and_stay_open(make_video: Callable, noise: Callable) -> None:
    frames = [noise("yuv420p", 32, 32, seed) for seed in range(5)]
    path = make_video("in.mp4", frames, codec="ffv1")
    with open(path, "rb") as file:
        file.seek(77)
        _, given, _ = read(file)
        assert all(same(a, b) for a, b in zip(given, frames, strict=True))
        assert not file.closed
        _, given, _ = read(file, span=Span(0.1))
        assert len(given) == 2
    assert len(read(io.BytesIO(path.read_bytes()))[1]) == 5
    with pytest.raises(VideoError, match="binary mode"):
        VideoReader(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="is empty"):
        VideoReader(io.BytesIO())


def test_warnings_are_pythons_unless_told_otherwise(make_video: Callable, smooth: Callable) -> None:
    path = make_video("in.mkv", [smooth("yuv444p", 64, 48)], "yuv444p", tags={"colorspace": 8})
    with pytest.warns(UserWarning, match="YCgCo"):
        VideoReader(path).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VideoReader(make_video("plain.mkv", [smooth("yuv444p", 64, 48)], "yuv444p")).close()


def test_iterating_again_goes_on(make_video: Callable, noise: Callable) -> None:
    path = make_video("in.mkv", [noise("yuv420p", 32, 32, seed) for seed in range(6)])
    with VideoReader(path) as reader:
        first = [next(iter(reader)).pts, next(iter(reader)).pts]
        rest = [frame.pts for frame in reader]
        assert first + rest == [0, 40, 80, 120, 160, 200]
        assert reader.report.frames == 6
    assert list(reader) == []
