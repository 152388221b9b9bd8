"""What is no video file but gives frames: numbered images, animations, images in memory; and how they are told."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from supertile.images.io.files import write_image
from supertile.images.io.picture import Picture
from supertile.video.errors import VideoError
from supertile.video.frames import Layout, ReadReport, Span
from supertile.video.read.arrays import ArrayReader
from supertile.video.read.file import VideoReader
from supertile.video.read.images import AnimatedWebpReader, ImageSequenceReader, exact_rate, webp_delays
from supertile.video.read.open import SourceOptions, open_source
from supertile.video.read.timestamps import Timed, Timeline


def rgba(seed: int, width: int = 12, height: int = 8, channels: int = 4, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)


def stacked(frame: Any) -> np.ndarray:
    return np.stack([plane.numpy() for plane in frame.planes], -1)


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "exact"),
    [
        (25, Fraction(25)), ("25", Fraction(25)), (23.976, Fraction(24000, 1001)), ("23.976", Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)), (59.94, Fraction(60000, 1001)), (119.88, Fraction(120000, 1001)),
        ("24000/1001", Fraction(24000, 1001)), (12.5, Fraction(25, 2)), (0.1, Fraction(1, 10)),
        (29.9, Fraction(299, 10)),        (24000 / 1001, Fraction(24000, 1001)), (Fraction(1, 7), Fraction(1, 7)),
    ],
)  # fmt: skip
def test_a_rate_is_what_is_meant_by_it(given: Any, exact: Fraction) -> None:
    assert exact_rate(given) == exact


@pytest.mark.parametrize("rate", [0, -1, "fast", float("nan"), float("inf"), None, "1/0", 1e9])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="frame_rate"):
        exact_rate(rate)


# --- numbered images ----------------------------------------------------------------------------------------------


def test_numbered_images_are_frames(tmp_path: Path) -> None:
    for number in range(8, 12):  # past the change from one digit to two
        Image.fromarray(rgba(number, channels=3)).save(tmp_path / f"f{number:04d}.png")
    Image.fromarray(rgba(1, 3, 3)).save(tmp_path / "f9.png")  # another way to write numbers: not of the pattern
    said: list[str] = []
    with open_source(tmp_path / "f%04d.png", SourceOptions(frame_rate=29.97), warn=said.append) as reader:  # type: ignore[attr-defined]
        info, frames = reader.info, list(reader)
    assert [np.array_equal(stacked(f), rgba(8 + i, channels=3)) for i, f in enumerate(frames)] == [True] * 4
    assert [(frame.pts, frame.duration) for frame in frames] == [(i, 1) for i in range(4)]
    assert (info.time_base, info.frames, info.duration) == (Fraction(1001, 30000), 4, 4)
    assert (info.layout, info.color.full_range, info.width, info.height) == (Layout("rgb"), True, 12, 8)
    assert reader.report.frames == 4
    assert said == []


def test_sixteen_bits_and_alpha_come_through(tmp_path: Path) -> None:
    codes = rgba(1, dtype=np.uint16)
    planes = Picture.planes(codes)
    write_image(tmp_path / "1.png", Picture(planes[:3], planes[3:], 16))
    Image.fromarray(rgba(2, channels=3)).save(tmp_path / "2.png")  # 8 bits, opaque
    Image.fromarray(rgba(3, channels=1)[..., 0]).save(tmp_path / "3.png")  # gray
    with ImageSequenceReader(tmp_path / "%d.png", 25) as reader:
        one, two, three = map(stacked, reader)
    assert reader.info.layout == Layout("rgb", 16, alpha=True)
    assert np.array_equal(one, codes)
    assert np.array_equal(two[..., :3], rgba(2, channels=3).astype(np.uint16) * 257)
    assert (two[..., 3] == 65535).all()
    assert np.array_equal(three[..., :3], np.repeat(rgba(3, channels=1).astype(np.uint16) * 257, 3, -1))


def test_images_that_are_all_gray_stay_gray(tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(rgba(number, channels=1)[..., 0]).save(tmp_path / f"{number}.png")
    with ImageSequenceReader([tmp_path / "1.png", str(tmp_path / "0.png")], "24") as reader:
        first, second = map(stacked, reader)
    assert reader.info.layout == Layout("gray")
    assert np.array_equal(first, rgba(1, channels=1))
    assert np.array_equal(second, rgba(0, channels=1))


def test_gaps_are_told_and_other_sizes_refused(tmp_path: Path) -> None:
    for number in (1, 2, 5):
        Image.fromarray(rgba(number)).save(tmp_path / f"{number:03d}.png")
    said: list[str] = []
    with ImageSequenceReader(tmp_path / "%03d.png", 25, warn=said.append) as reader:
        assert [frame.pts for frame in reader] == [0, 1, 2]
    assert len(said) == 1
    assert "2 of the numbers are missing, the first is 3" in said[0]
    Image.fromarray(rgba(6, 9, 9)).save(tmp_path / "006.png")
    with pytest.raises(VideoError, match=r"006\.png has 9x9 pixels, the images before it 12x8"):
        ImageSequenceReader(tmp_path / "%03d.png", 25, warn=said.append)


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    Image.fromarray(rgba(1)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(VideoError, match=r"2\.png"):
        ImageSequenceReader(tmp_path / "%d.png", 25)
    cut = io.BytesIO()
    Image.fromarray(rgba(1, 64, 64)).save(cut, "PNG")
    for number in (1, 2):
        Image.fromarray(rgba(1, 64, 64)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(cut.getvalue()[:2000])  # its head is whole
    with ImageSequenceReader(tmp_path / "%d.png", 25) as reader, pytest.raises(VideoError, match=r"2\.png"):
        list(reader)
    for source in (tmp_path / "none%d.png", tmp_path / "absent" / "%d.png", []):
        with pytest.raises(VideoError):
            ImageSequenceReader(source, 25)
    with pytest.raises(VideoError, match="exactly one number"):
        ImageSequenceReader(tmp_path / "%d_%d.png", 25)


def test_a_turned_image_has_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgba(1, channels=3)).save(tmp_path / "1.png", exif=exif)
    with ImageSequenceReader(tmp_path / "%d.png", 25) as reader:
        (frame,) = reader
    assert (reader.info.width, reader.info.height) == (8, 12)
    assert np.array_equal(stacked(frame), np.rot90(rgba(1, channels=3), -1))


def test_a_span_of_images(tmp_path: Path) -> None:
    for number in range(10):
        Image.fromarray(rgba(number)).save(tmp_path / f"{number}.png")
    with open_source(tmp_path / "%d.png", SourceOptions(frame_rate=10), span=Span(0.25, 0.6)) as reader:  # type: ignore[attr-defined]
        assert [frame.pts for frame in reader] == [3, 4, 5]
    assert (reader.info.start_pts, reader.info.frames) == (3, 3)
    with pytest.raises(VideoError, match="span"):
        ImageSequenceReader(tmp_path / "%d.png", 10, span=Span(5))


# --- animations -----------------------------------------------------------------------------------------------------

DELAYS = [100, 20, 350, 50]


def animation(path: Path, **options: Any) -> list[np.ndarray]:
    frames = [rgba(seed, 32, 24) for seed in range(4)]
    for frame in frames:
        frame[..., 3] = np.where(frame[..., 3] > 127, 255, 0)
        frame[frame[..., 3] == 0] = 0
    all_images = [Image.fromarray(frame) for frame in frames]
    all_images[0].save(path, save_all=True, append_images=all_images[1:], duration=DELAYS, loop=0, **options)
    return frames


def test_animated_webp_keeps_delays_and_alpha(tmp_path: Path) -> None:
    path = tmp_path / "in.webp"
    frames = animation(path, lossless=True, exact=True)
    assert webp_delays(path) == DELAYS
    with open_source(path) as reader:  # type: ignore[attr-defined]
        given = list(reader)
    assert isinstance(reader, AnimatedWebpReader)
    assert reader.info.layout == Layout("rgb", 8, alpha=True)
    assert (reader.info.duration, reader.info.frames) == (520, 4)
    assert [(f.pts, f.duration) for f in given] == [(0, 100), (100, 20), (120, 350), (470, 50)]
    for frame, wanted in zip(given, frames, strict=True):
        assert np.array_equal(stacked(frame)[wanted[..., 3] > 0], wanted[wanted[..., 3] > 0])
        assert np.array_equal(stacked(frame)[..., 3], wanted[..., 3])
    with open_source(path, span=Span(0.1, 0.2)) as part:  # type: ignore[attr-defined]
        assert [(f.pts, f.duration) for f in part] == [(100, 20), (120, 80)]
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(VideoError, match=r"in\.webp"):
        list(open_source(path))


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_gif_and_apng_keep_delays_and_alpha(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in.{suffix}"
    options = {"disposal": 2} if suffix == "gif" else {"blend": 0}
    frames = animation(path, **options)
    with open_source(path) as reader:  # type: ignore[attr-defined]
        given = list(reader)
    assert isinstance(reader, VideoReader)
    seconds = [(f.pts * reader.info.time_base, f.duration * reader.info.time_base) for f in given]
    starts = np.cumsum([0, *DELAYS[:-1]]).tolist()
    assert [pts * 1000 for pts, _ in seconds] == starts
    assert [duration * 1000 for _, duration in seconds] == DELAYS
    assert reader.info.layout == Layout("rgb", 8, alpha=True)
    for frame, wanted in zip(given, frames, strict=True):
        assert np.array_equal(stacked(frame)[..., 3], wanted[..., 3])
        if suffix == "png":
            assert np.array_equal(stacked(frame), wanted)


# --- images in memory ---------------------------------------------------------------------------------------------


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
    with pytest.raises(VideoError, match="not one"):
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
    with pytest.raises(VideoError, match="number 3 is unlike"):
        list(reader)
    with pytest.raises(VideoError, match="number 2 is unlike"):
        list(ArrayReader([rgba(1), rgba(2, dtype=np.uint16)], 25))


# --- which source ---------------------------------------------------------------------------------------------------


def test_each_thing_finds_its_reader(make_video: Callable, smooth: Callable, tmp_path: Path) -> None:
    path = make_video("in.mkv", [smooth("yuv420p", 32, 32)])
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        with open_source(source) as reader:  # type: ignore[attr-defined]
            assert isinstance(reader, VideoReader)
    odd = path.rename(tmp_path / "100%d.mkv")  # a file of that very name
    with open_source(odd) as reader:  # type: ignore[attr-defined]
        assert isinstance(reader, VideoReader)
    with pytest.raises(ValueError, match="cannot be given"):
        open_source(odd, SourceOptions(frame_rate=25))
    with pytest.raises(ValueError, match="must be given"):
        open_source(tmp_path / "%d.png")
    with pytest.raises(ValueError, match="must be given"):
        open_source([rgba(1)])
    with pytest.raises(TypeError, match="path, a file object or an iterable"):
        open_source(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="deinterlace"):
        open_source(odd, SourceOptions(deinterlace="please"))


# --- times ----------------------------------------------------------------------------------------------------------


def repaired(
    times: list[int | None], nominal: int = 40, time_base: Fraction = Fraction(1, 1000)
) -> tuple[list[int], int]:
    report = ReadReport()
    timeline = Timeline(time_base, nominal, report)
    return [timeline.repaired(pts) for pts in times], report.repaired_pts


def test_good_times_are_left_alone() -> None:
    times = [-80, -40, 0, 1, 2, 500_000]
    assert repaired(times) == (times, 0)


def test_broken_times_are_repaired_with_the_least_change() -> None:
    assert repaired([0, 40, 40, 80, 120]) == ([0, 40, 41, 80, 120], 1)
    assert repaired([0, None, 80, None]) == ([0, 40, 80, 120], 2)
    assert repaired([None, 40]) == ([0, 40], 1)
    assert repaired([0, 120, 80, 160]) == ([0, 120, 121, 160], 1)


def test_a_clock_that_begins_anew_goes_on_behind() -> None:
    assert repaired([9000, 9040, 9080, 0, 40, 80]) == ([9000, 9040, 9080, 9120, 9160, 9200], 1)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**33), 2**33)), max_size=60))
def test_repaired_times_always_rise(times: list[int | None]) -> None:
    fixed, count = repaired(times)
    assert all(a < b for a, b in pairwise(fixed))
    assert count <= len(times)
    report = ReadReport()
    timeline = Timeline(Fraction(1, 1000), 40, report)
    entries = [Timed(None, pts) for pts in fixed]
    lasting = list(timeline.durations(entries))
    assert all(entry.duration is not None and entry.duration > 0 for entry in lasting)
    assert [entry.pts for entry in lasting] == fixed


@pytest.mark.parametrize(
    ("own", "declared_end", "expected"),
    [
        (None, None, 40),  # nothing said: the nominal distance
        (55, None, 55),
        (55, 180, 60),  # 180 - 120: the end wins while it is near
        (40, 9000, 40),  # far away: frames are missing, and the last one is not stretched over the gap
        (40, 100, 40),  # before the frame itself: wrong
        (500, 420, 300),
    ],
)
def test_how_long_the_last_frame_lasts(own: int | None, declared_end: int | None, expected: int) -> None:
    timeline = Timeline(Fraction(1, 1000), 40, ReadReport(), declared_end)
    frames = [Timed("a", 0, 999), Timed("b", 80, 1), Timed("c", 120, own)]
    assert [entry.duration for entry in timeline.durations(frames)] == [80, 40, expected]
    assert timeline.end == 120 + expected


def test_pyav_reads_what_the_tests_wrote(make_video: Callable, noise: Callable, planes_of: Callable) -> None:
    """The helpers of these tests, against PyAV alone."""
    planes = noise("yuv422p10le", 34, 22)
    with av.open(str(make_video("in.mkv", [planes], "yuv422p10le"))) as container:
        (frame,) = container.decode(video=0)
    assert all(np.array_equal(a, b) for a, b in zip(planes_of(frame), planes, strict=True))
