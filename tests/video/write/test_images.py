"""Numbered images: all samples, all there at once, nothing written over."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from supertile.images.io.files import read_image
from supertile.tests.video.media import VFR, VFR_END, frames, info
from supertile.video.errors import VideoError
from supertile.video.frames import Color, Frame, Layout
from supertile.video.kinds import is_pattern
from supertile.video.write.encoder_options import EncoderOptions
from supertile.video.write.images import existing_of
from supertile.video.write.open import open_target


def sink_for(pattern, layout=Layout("rgb"), **more):  # noqa: B008
    source = info(30, 20, layout, more.pop("color", None))
    options = {name: more.pop(name) for name in ("codec", "pixel_format") if name in more}
    return open_target(pattern, source, source.format, EncoderOptions(**options), **more)


def write(sink, count=3, step=40):
    given = frames(sink.format.layout, 30, 20, list(range(0, step * count, step)), step * count)
    for frame in given:
        sink.write(frame)
    return given


@pytest.mark.parametrize(
    ("layout", "expected", "name"),
    [
        (Layout("rgb"), Layout("rgb"), "rgb24"),
        (Layout("yuv", 8, (1, 1)), Layout("rgb"), "rgb24"),
        (Layout("yuv", 10, (1, 1)), Layout("rgb", 16), "rgb48be"),
        (Layout("yuv", 12, (0, 0), alpha=True), Layout("rgb", 16, alpha=True), "rgba64be"),
        (Layout("rgb", 8, alpha=True), Layout("rgb", 8, alpha=True), "rgba"),
        (Layout("gray"), Layout("gray"), "gray"),
        (Layout("gray", 10), Layout("gray", 16), "gray16be"),
        (Layout("gray", 16, alpha=True), Layout("gray", 16, alpha=True), "ya16be"),
    ],
)
def test_every_sample_is_in_the_image(tmp_path, layout, expected, name):
    warnings = []
    sink = sink_for(tmp_path / "f%04d.png", layout, warn=warnings.append)
    assert (sink.format.layout, sink.pixel_format, sink.encoder) == (expected, name, "png")
    assert (sink.format.color.matrix, sink.format.color.full_range) == (0, True)
    given = write(sink)
    assert sink.bytes_written > 0
    sink.finish()
    assert warnings == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f0001.png", "f0002.png", "f0003.png"]
    for number, frame in enumerate(given, 1):
        image = read_image(tmp_path / f"f{number:04}.png")
        assert image.bit_depth == expected.depth
        codes = image.codes(expected.depth)
        assert codes.shape[2] == expected.planes
        for plane in range(expected.planes):
            assert (codes[..., plane] == frame.planes[plane].numpy()).all()


def test_nothing_is_seen_before_the_end(tmp_path):
    sink = sink_for(tmp_path / "new" / "%06d.png")
    write(sink)
    (hidden,) = (tmp_path / "new").iterdir()
    assert hidden.name.startswith(".")
    sink.finish()
    assert len(list((tmp_path / "new").iterdir())) == 3
    sink.discard()
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_discarding_and_giving_up_leave_nothing(tmp_path):
    sink = sink_for(tmp_path / "%06d.png")
    write(sink)
    sink.discard()
    assert list(tmp_path.iterdir()) == []
    sink = sink_for(tmp_path / "%06d.png")
    write(sink)
    sink.finish(cancelled=lambda: True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoError, match="source had no frames"):
        sink_for(tmp_path / "%06d.png").finish()
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_there_are_replaced_only_when_asked(tmp_path):
    there = tmp_path / "a0007.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(there)
    before = there.read_bytes()
    with pytest.raises(VideoError, match=r"a0007\.png exists already"):
        sink_for(tmp_path / "a%04d.png")
    (tmp_path / "ab07.png").write_bytes(b"of no such pattern")
    warnings = []
    sink = sink_for(tmp_path / "a%04d.png", overwrite=True, warn=warnings.append)
    write(sink)
    sink.finish()
    assert there.read_bytes() == before
    assert len(warnings) == 1
    assert "older images of this pattern remain in the folder (1), from a0007.png on" in warnings[0]


def test_source_images_are_never_written_over(tmp_path):
    for number in (1, 2):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / f"{number:06}.png")
    source = info(30, 20, Layout("gray"))
    source = type(source)(**{**source.__dict__, "name": str(tmp_path / "%06d.png")})
    with pytest.raises(VideoError, match="one of the sources"):
        open_target(tmp_path / "%06d.png", source, source.format, overwrite=True)


def test_uneven_times_are_written_beside(tmp_path):
    sink = sink_for(tmp_path / "%06d.png")
    for frame in frames(sink.format.layout, 30, 20, [time + 100 for time in VFR], VFR_END + 100):
        sink.write(frame)
    sink.finish()
    first, *times = (tmp_path / "timecodes.txt").read_text().splitlines()
    assert first == "# timestamp format v2"
    assert [float(time) for time in times] == VFR


def test_names():
    from pathlib import Path

    assert is_pattern(Path("a/%06d.png"))
    assert is_pattern(Path("%d.png"))
    assert not is_pattern(Path("a%/b.png"))
    assert not is_pattern(Path("%d-%d.png"))
    assert existing_of(Path("nowhere/%d.png")) == []


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("%04d.jpg", {}, "not a pattern of PNG"),
        ("%04d.png", {"codec": "h264"}, "are for video files only"),
        ("%04d.png", {"pixel_format": "rgb24"}, "are for video files only"),
    ],
)
def test_what_is_refused(tmp_path, name, more, message):
    with pytest.raises(VideoError, match=message):
        sink_for(tmp_path / name, **more)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_an_error(tmp_path):
    sink = sink_for(tmp_path / "%d.png")
    other = frames(sink.format.layout, 31, 20, [0], 40)[0]
    with pytest.raises(VideoError, match="planes of 30x20"):
        sink.write(Frame(other.planes, 0, 40))
    sink.discard()


def test_color_that_images_cannot_tell_is_named(tmp_path):
    warnings = []
    sink = sink_for(
        tmp_path / "%d.png", Layout("yuv", 10, (1, 1)), color=Color(9, False, "left", 9, 16), warn=warnings.append
    )
    sink.discard()
    assert len(warnings) == 1
    assert "no color tags" in warnings[0]
