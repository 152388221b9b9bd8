"""Numbered images and animations as videos."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from supertile.images.io.files import write_image
from supertile.images.io.picture import Picture
from supertile.tests.video.media import rgba, stacked
from supertile.video.errors import VideoError
from supertile.video.frames import Layout, Span
from supertile.video.read.file import VideoReader
from supertile.video.read.images import AnimatedWebpReader, ImageSequenceReader, exact_rate, webp_delays
from supertile.video.read.open import SourceOptions, open_source

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


# --- numbered images ------------------------------------------------------------------------------------------------


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
    assert "2 numbers are missing, first 3" in said[0]
    Image.fromarray(rgba(6, 9, 9)).save(tmp_path / "006.png")
    with pytest.raises(VideoError, match=r"006\.png has 9x9 pixels, but the images before it have 12x8"):
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
