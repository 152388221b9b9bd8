"""The upscaled frames of a video as arrays, and arrays written as a video."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from supertile import (
    ArrayWriter,
    Cancelled,
    EncoderOptions,
    SourceOptions,
    Span,
    UpscaleError,
    Upscaler,
    VideoError,
    upscale_frames,
)
from supertile.tests.video.media import rich_file
from supertile.video.container import SUFFIXES

RATE = SourceOptions(frame_rate=24)
LOSSLESS = EncoderOptions(codec="ffv1", pixel_format="bgr0")


@pytest.fixture
def double(enlarger) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), device="cpu", precision="fp32")


@pytest.fixture
def identity(enlarger) -> Upscaler:
    return Upscaler(enlarger(1), device="cpu", precision="fp32")


def noise(count: int, channels: int = 3, dtype: type = np.uint8, size: tuple[int, int] = (16, 20)) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, np.iinfo(dtype).max, (*size, channels), dtype) for _ in range(count)]


def repeated(array: np.ndarray) -> np.ndarray:
    return array.repeat(2, 0).repeat(2, 1)


# --- frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_frames_are_arrays_with_exact_times(double, dtype, channels):
    source = noise(3, channels, dtype)
    frames = list(upscale_frames(source, double, source_options=SourceOptions(frame_rate="24000/1001")))
    assert all(np.array_equal(frame.image, repeated(codes)) for frame, codes in zip(frames, source, strict=True))
    assert {frame.image.dtype for frame in frames} == {np.dtype(dtype)}
    assert [frame.pts for frame in frames] == [Fraction(1001 * n, 24000) for n in range(3)]
    assert {frame.duration for frame in frames} == {Fraction(1001, 24000)}


def test_a_file_with_irregular_times_keeps_them(make_video, smooth, identity):
    pts = [0, 40, 90, 100, 300]
    planes = [smooth("yuv444p", 32, 24, n) for n in range(5)]
    path = make_video("a.mkv", planes, "yuv444p", pts=pts, time_base=Fraction(1, 1000))
    frames = list(upscale_frames(path, identity))
    assert [frame.pts for frame in frames] == [Fraction(t, 1000) for t in pts]
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    for frame, image in zip(frames, expected, strict=True):
        assert np.abs(frame.image - image).max() <= 2


def test_frames_are_streamed(double):
    taken = 0

    def source():
        nonlocal taken
        for codes in itertools.cycle(noise(2)):
            taken += 1
            yield codes

    with upscale_frames(source(), double, source_options=RATE) as frames:
        for _ in range(3):
            next(frames)
        assert taken < 30
    assert list(frames) == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_upright(make_video, double, turns, mirrored):
    """The display matrix of a file is applied as FFmpeg does it."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    a, b, c, d = cos, sin, -sin, cos
    if mirrored:
        a, c = -a, -c
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    codes = noise(1)[0]
    rows = codes.reshape(16, 60)
    path = make_video(
        "a.mov", [[rows]], "rgb24", "libx264rgb", size=(20, 16), options={"qp": "0"}, display_matrix=matrix
    )
    frames = upscale_frames(path, double)
    [frame] = frames
    expected = np.rot90(codes, -turns)
    if not mirrored:
        with av.open(str(path)) as container:
            rotation = next(container.decode(video=0)).rotation  # counterclockwise, as FFmpeg reads it
        assert np.array_equal(expected, np.rot90(codes, rotation // 90))
    expected = repeated(expected[:, ::-1] if mirrored else expected)
    assert np.array_equal(frame.image, expected)
    assert (frames.height, frames.width) == expected.shape[:2]


def test_size_span_progress_and_count(double):
    seen: list[tuple[int, int | None]] = []
    frames = upscale_frames(
        noise(6), double, size="3x", span=Span(start=Fraction(1, 24), end=Fraction(4, 24)), source_options=RATE,
        progress=lambda each: seen.append((each.frames, each.expected)),
    )  # fmt: skip
    assert (frames.width, frames.height, frames.expected, frames.frame_rate) == (60, 48, 3, 24)
    assert [(frame.pts, frame.image.shape) for frame in frames] == [(Fraction(n, 24), (48, 60, 3)) for n in (1, 2, 3)]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_frames_are_cancelled(double):
    done: list[object] = []
    frames = upscale_frames(noise(60), double, source_options=RATE, cancelled=lambda: len(done) >= 2)
    with pytest.raises(Cancelled):
        done.extend(frames)
    assert 2 <= len(done) < 60
    assert list(frames) == []


def test_a_wrong_source_is_refused_at_once(double, tmp_path):
    with pytest.raises(VideoError, match=r"none\.mp4"):
        upscale_frames(tmp_path / "none.mp4", double)
    with pytest.raises(VideoError, match="frame rate"):
        upscale_frames(noise(1), double)


# --- writing -----------------------------------------------------------------------------------------------------


def read_back(path) -> list[tuple[Fraction, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


@pytest.mark.parametrize("kind", ["array", "PIL", "tensor", "floats"])
def test_what_is_written_is_read(tmp_path, kind):
    convert = {
        "array": lambda codes: codes,
        "PIL": Image.fromarray,
        "tensor": lambda codes: torch.from_numpy(codes).permute(2, 0, 1) / 255,
        "floats": lambda codes: codes / 255,
    }[kind]
    images = noise(3)
    with ArrayWriter(tmp_path / "a.mkv", 25, encoder=LOSSLESS) as writer:
        for codes in images:
            writer.write(convert(codes))
    frames = read_back(tmp_path / "a.mkv")
    assert [time for time, _ in frames] == [Fraction(n, 25) for n in range(3)]
    assert all(np.array_equal(image, codes) for (_, image), codes in zip(frames, images, strict=True))


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_every_container_with_its_default_codec(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with ArrayWriter(path, "30000/1001") as writer:
        for level in (40, 120, 200):
            writer.write(np.full((50, 66, 3), level, np.uint8))
    means = [image.mean() for _, image in read_back(path)]
    assert means == pytest.approx([40, 120, 200], abs=3)


def test_times_are_kept_to_a_tenth_of_a_millisecond(tmp_path):
    times = [Fraction(0), Fraction(1, 30), Fraction(1, 7), Fraction(1)]
    with ArrayWriter(tmp_path / "a.mp4", 30) as writer:
        for codes, time in zip(noise(4, size=(48, 64)), times, strict=True):
            writer.write(codes, pts=time)
    for (time, _), expected in zip(read_back(tmp_path / "a.mp4"), times, strict=True):
        assert abs(time - expected) <= Fraction(1, 10_000)


def test_frames_go_from_one_to_the_other_with_the_sound(tmp_path, identity):
    source = tmp_path / "in.mkv"
    rich_file(source)
    with (
        upscale_frames(source, identity) as frames,
        ArrayWriter(
            tmp_path / "out.mkv", frames.frame_rate, streams_from=source, encoder=LOSSLESS, warn=lambda _: None
        ) as writer,
    ):
        times = []
        for frame in frames:
            times.append(frame.pts)
            writer.write(frame.image, pts=frame.pts, duration=frame.duration)
    written = [time for time, _ in read_back(tmp_path / "out.mkv")]
    assert len(written) == len(times) > 1
    assert all(abs(a - b) <= Fraction(1, 1000) for a, b in zip(written, times, strict=True))
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        assert len(after.streams.audio) == len(before.streams.audio) > 0


def write(target, images) -> None:
    with ArrayWriter(target, 24) as writer:
        for image in images:
            writer.write(image)


def test_nothing_appears_after_an_error(tmp_path):
    target = tmp_path / "a.mp4"
    first = noise(1, size=(48, 64))[0]
    with pytest.raises(ZeroDivisionError):
        write(target, (first if n else 1 // n for n in (1, 0)))
    with pytest.raises(VideoError, match="there were no images"):
        write(target, [])
    with pytest.raises(VideoError, match="20x16 pixels, the first one 64x48"):
        write(target, [first, noise(1)[0]])
    with pytest.raises(UpscaleError, match="transpose"):
        write(target, [first, np.zeros((3, 48, 64))])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_if_told(tmp_path):
    target = tmp_path / "a.mkv"
    target.write_bytes(b"mine")
    with pytest.raises(VideoError, match="exists"):
        write(target, noise(1))
    assert target.read_bytes() == b"mine"
    with ArrayWriter(target, 24, overwrite=True) as writer:
        writer.write(noise(1)[0])
    assert len(read_back(target)) == 1
