"""Videos that are cropped or get bars: pixels, the shape of pixels, even sides, rotation, transparency, parts."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from supertile import EncoderOptions, Upscaler, upscale_frames, upscale_video
from supertile.tests.video.conftest import from_frame, smooth_planes
from supertile.video.parts.job import JobOptions

FFV1 = EncoderOptions(codec="ffv1")
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


@pytest.fixture
def double(enlarger) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), precision="fp32")


def first_planes(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return from_frame(next(container.decode(video=0)))


def stream_facts(path) -> tuple[int, int, Fraction, str]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, Fraction(stream.sample_aspect_ratio or 1), stream.pix_fmt


def test_what_is_cropped_and_added_leaves_the_rest_as_it_is(make_video, double, tmp_path):
    planes = smooth_planes("yuv444p", 64, 48)
    source = make_video("in.mkv", [planes] * 2, "yuv444p")
    for size in ("128x96", "fill:96x96", "pad:160x96"):
        upscale_video(source, tmp_path / f"{size.replace(':', '_')}.mkv", double, size=size, encoder=FFV1)
    whole, filled, padded = (
        first_planes(tmp_path / name) for name in ("128x96.mkv", "fill_96x96.mkv", "pad_160x96.mkv")
    )
    for plane, black, cropped, barred in zip(whole, (16, 128, 128), filled, padded, strict=True):
        assert np.array_equal(cropped, plane[:, 16:112])
        assert np.array_equal(barred[:, 16:144], plane)
        assert set(np.unique(np.concatenate([barred[:, :16], barred[:, 144:]], axis=1))) == {black}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("200x200", (150, 200, Fraction(64, 45))),
        ("stretch:200x200", (200, 200, Fraction(16, 9))),
        ("fill:200x200", (200, 200, Fraction(1))),
        ("pad:200x200", (200, 200, Fraction(1))),
        ("pad:160x90", (160, 90, Fraction(1))),
    ],
)
def test_pixels_that_are_not_square(make_video, double, tmp_path, size, expected):
    # The first is shown as 76.8x72, the second as 16:9.
    stored = (60, 48) if size == "pad:160x90" else (54, 72)
    source = make_video("in.mp4", [smooth_planes("yuv420p", *stored)], codec="libx264", sar=Fraction(64, 45))
    upscale_video(source, tmp_path / "out.mkv", double, size=size, encoder=FFV1)
    width, height, ratio, _ = stream_facts(tmp_path / "out.mkv")
    assert (width, height) == expected[:2]
    if size.startswith("stretch"):  # the shape of the picture stays
        assert float(width * ratio / height) == pytest.approx(54 * 64 / 45 / 72, rel=0.01)
    else:
        assert ratio == pytest.approx(expected[2], rel=0.005)  # Matroska states whole pixels


def test_bars_are_where_the_shape_of_pixels_puts_them(make_video, double, tmp_path):
    white = [np.full((48, 64), 235, np.uint8), *np.full((2, 24, 32), 128, np.uint8)]
    source = make_video("in.mp4", [white], codec="libx264", sar=Fraction(2))
    upscale_video(source, tmp_path / "out.mkv", double, size="pad:120x120:black", encoder=FFV1)
    luma = first_planes(tmp_path / "out.mkv")[0]
    bright = np.flatnonzero(luma[:, 60] > 200)
    assert (bright[0], bright[-1] + 1) == (37, 82)  # 8:3 in 120 columns: 45 rows
    assert luma[60].min() > 200


@pytest.mark.parametrize(
    ("size", "expected"),
    [("fill:99x63", (98, 62)), ("pad:99x63", (98, 62)), ("pad:101x99", (100, 98)), ("99x99", (98, 74))],
)
def test_sides_are_even_for_codecs_that_need_it(make_video, double, tmp_path, size, expected):
    source = make_video("in.mkv", [smooth_planes("yuv420p", 64, 48)] * 2)
    report = upscale_video(source, tmp_path / "out.mp4", double, size=size)
    assert stream_facts(tmp_path / "out.mp4") == (*expected, 1, "yuv420p")
    assert not [warning for warning in report.warnings if "Many players" in warning]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_box_of_a_turned_video_is_that_of_its_display(make_video, double, tmp_path, suffix):
    source = make_video(
        f"in{suffix}", [smooth_planes("yuv420p", 64, 48)] * 2, codec="libx264", display_matrix=QUARTER_TURN
    )
    upscale_video(source, tmp_path / f"out{suffix}", double, size="pad:100x300")
    assert stream_facts(tmp_path / f"out{suffix}")[:2] == (300, 100)
    luma = first_planes(tmp_path / f"out{suffix}")[0]
    assert luma[:, :80].max() < 40  # shown upright these are the bars above and below: 100x133 in 100x300
    assert luma[50, 90:210].min() > 40
    with upscale_frames(source, double, size="fill:100x300") as frames:
        assert (frames.width, frames.height) == (100, 300)
        assert next(frames).image.shape == (300, 100, 3)


def test_bars_are_transparent_where_the_video_is(make_video, double, tmp_path):
    source = make_video("in.mkv", [smooth_planes("yuva444p", 64, 48)], "yuva444p")
    for size, clear in (("pad:128x128", 0), ("pad:128x128:white", 255)):
        target = tmp_path / f"{clear}.mkv"
        upscale_video(source, target, double, size=size, encoder=FFV1)
        luma, _, _, alpha = first_planes(target)
        assert set(alpha[:16].ravel()) | set(alpha[112:].ravel()) == {clear}
        assert set(luma[:16].ravel()) == {235 if clear else 16}
        assert 0 < alpha[16:112].min() < alpha[16:112].max() < 255


def test_in_parts_as_in_one_piece(make_video, double, tmp_path):
    frames = [smooth_planes("yuv420p", 64, 48, number) for number in range(100)]
    source = make_video("in.mp4", frames, codec="libx264", options={"g": "25"})
    for name, seconds in (("parts", 1), ("whole", 0)):
        job = JobOptions(part_seconds=seconds)
        report = upscale_video(source, tmp_path / f"{name}.mkv", double, size="fill:80x96", encoder=FFV1, job=job)
        assert report.target_size == (80, 96)
    with av.open(str(tmp_path / "parts.mkv")) as parts, av.open(str(tmp_path / "whole.mkv")) as whole:
        for ours, theirs in zip(parts.decode(video=0), whole.decode(video=0), strict=True):
            for a, b in zip(from_frame(ours), from_frame(theirs), strict=True):
                assert np.array_equal(a, b)
