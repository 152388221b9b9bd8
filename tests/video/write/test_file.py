"""Frames in a file: time to the tick, tags, HDR metadata, shape on the screen."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.sidedata.sidedata import Type
from supertile.tests.video.media import VFR, VFR_END, decoded, frames, image, info
from supertile.video.container import CONTAINERS, SUFFIXES
from supertile.video.errors import VideoError
from supertile.video.frames import Color, Frame, FrameFormat, Layout, Span, StaticHdr
from supertile.video.write.encoder_options import EncoderOptions
from supertile.video.write.encoders import choose_encoder
from supertile.video.write.file import VideoWriter
from supertile.video.write.open import open_target, scaled_aspect_ratio

YUV420 = Layout("yuv", 8, (1, 1))
CONTAINER_CODECS = [
    (SUFFIXES[container], codec) for container, names in CONTAINERS.items() for codec in names if codec != "ffv1"
]
HDR = StaticHdr(
    mastering=tuple(
        (Fraction(a), Fraction(b))
        for a, b in [("0.265", "0.69"), ("0.15", "0.06"), ("0.68", "0.32"), ("0.3127", "0.329"), ("1000", "0.005")]
    ),
    content_light=(1000, 400),
)


def sink_for(path, source, width=64, height=48, **more):
    options = {name: more.pop(name) for name in ("codec", "preset") if name in more}
    return open_target(
        path, source, replace(source.format, width=width, height=height), EncoderOptions(**options), **more
    )


def write_all(sink, pts, end):
    for frame in frames(sink.format.layout, sink.format.width, sink.format.height, pts, end):
        sink.write(frame)
    sink.finish()


def times_of(path):
    """(seconds at which frames are shown, seconds the stream lasts, seconds the file lasts)"""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = [frame.pts * stream.time_base for frame in container.decode(stream)]
        if stream.duration is not None:
            lasts = stream.duration * stream.time_base
        else:  # Matroska tells it in a tag, from 0 on
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            lasts = Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
        return shown, lasts, Fraction(container.duration, av.time_base)


@pytest.mark.parametrize(("suffix", "codec"), CONTAINER_CODECS)
@pytest.mark.parametrize("preset", ["medium", "ultrafast"])  # with B-frames, and without
@pytest.mark.parametrize("offset", [0, 100])
def test_variable_time_is_exact(tmp_path, suffix, codec, preset, offset):
    path = tmp_path / f"out{suffix}"
    sink = sink_for(path, info(), codec=codec, preset=preset)
    write_all(sink, [time + offset for time in VFR], VFR_END + offset)
    shown, stream, whole = times_of(path)
    assert shown == [Fraction(time + offset, 1000) for time in VFR]
    start = offset if suffix in (".mkv", ".webm") else 0
    assert stream == Fraction(VFR_END + start, 1000)
    assert whole == Fraction(VFR_END + start, 1000)


def test_the_case_with_b_frames_has_b_frames(tmp_path):
    write_all(sink_for(tmp_path / "a.mp4", info(), codec="h264"), VFR, VFR_END)
    write_all(sink_for(tmp_path / "b.mp4", info(), codec="h264", preset="ultrafast"), VFR, VFR_END)
    for name, reordered in (("a", True), ("b", False)):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert ([p.pts for p in packets] != sorted(p.pts for p in packets)) is reordered


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("base", [Fraction(1, 90000), Fraction(1, 30000), Fraction(1001, 30000), Fraction(1, 24)])
def test_mp4_keeps_the_ticks_of_the_source(tmp_path, suffix, base):
    path = tmp_path / f"out{suffix}"
    pts = [3, 4, 5, 9, 17, 18, 19, 33]
    write_all(sink_for(path, info(time_base=base), codec="h264"), pts, 40)
    with av.open(str(path)) as container:
        assert container.streams.video[0].time_base == Fraction(1, base.denominator)
    shown, lasts, _ = times_of(path)
    assert shown == [time * base for time in pts]
    assert lasts == 37 * base


def test_a_start_is_moved_to_zero(tmp_path):
    path = tmp_path / "out.mp4"
    source = info(time_base=Fraction(1, 90000))
    sink = sink_for(path, source, span=Span(Fraction(1, 3)))  # 30,000 ticks
    write_all(sink, [30000, 33000, 36000], 39000)
    assert times_of(path)[0] == [0, Fraction(3000, 90000), Fraction(6000, 90000)]


def test_a_single_frame_lasts_as_long_as_it_is_told(tmp_path):
    for suffix, codec in CONTAINER_CODECS:
        path = tmp_path / f"out{suffix}"
        write_all(sink_for(path, info(), codec=codec, overwrite=True), [0], 2500)
        shown, lasts, _ = times_of(path)
        assert (shown, lasts) == ([0], Fraction(5, 2)), (suffix, codec)


TAGS = [
    Color(1, False, "left", 1, 1),
    Color(1, True, "left", 1, 1),
    Color(6, False, "left", 6, 6),
    Color(5, False, "left", 5, 6),
    Color(9, False, "topleft", 9, 16),
    Color(9, False, "topleft", 9, 18),
    Color(1, False, "left", 2, 2, tagged=False),
]


@pytest.mark.parametrize(("suffix", "codec"), [*CONTAINER_CODECS, (".mkv", "ffv1"), (".mp4", "ffv1")])
@pytest.mark.parametrize("color", TAGS)
def test_color_is_tagged_as_it_is(tmp_path, suffix, codec, color):
    path = tmp_path / f"out{suffix}"
    sink = sink_for(path, info(color=color), codec=codec)
    write_all(sink, [0, 40, 80], 120)
    frame = decoded(path)[0]
    full = color.full_range and codec != "prores"
    assert sink.format.color.full_range == full
    assert frame.colorspace == color.matrix
    assert frame.color_range == (2 if full else 1)
    tags = (color.primaries, color.transfer)
    if (suffix, codec) == (".mp4", "ffv1") and color.primaries == 2:  # told whole or not at all
        tags = (1, 1)
    assert (frame.color_primaries, frame.color_trc) == tags


@pytest.mark.parametrize(("suffix", "codec"), [*CONTAINER_CODECS, (".mkv", "ffv1"), (".mp4", "ffv1")])
def test_static_hdr_metadata_arrives(tmp_path, suffix, codec):
    path = tmp_path / f"out{suffix}"
    layout = Layout("yuv", 10, (1, 0) if codec == "prores" else (1, 1))
    source = info(layout=layout, color=Color(9, False, "left", 9, 16), hdr=HDR)
    warnings = []
    sink = sink_for(path, source, codec=codec, warn=warnings.append)
    write_all(sink, [0, 40, 80], 120)
    assert warnings == (["10 bits become 8: yuv420p is the closest pixel format of libvpx-vp9 in " + suffix + "."]
                        if sink.format.layout.depth == 8 else [])  # fmt: skip
    found = decoded(path)[0].side_data
    sides = {name: bytes(found[Type[name]]) for name in ("CONTENT_LIGHT_LEVEL", "MASTERING_DISPLAY_METADATA")}
    assert struct.unpack("<2I", sides["CONTENT_LIGHT_LEVEL"]) == HDR.content_light
    numbers = struct.unpack("<20i2i", sides["MASTERING_DISPLAY_METADATA"][:88])
    values = [numbers[i] / numbers[i + 1] for i in range(0, 20, 2)]
    green, blue, red, white, (most, least) = HDR.mastering
    expected = [*red, *green, *blue, *white, least, most]
    tolerance = {"av1": 2**-14}.get(codec, 1e-5)  # its luminance counts in 1/16384
    assert values == pytest.approx([float(value) for value in expected], abs=tolerance)
    assert numbers[20:] == (1, 1)


@pytest.mark.parametrize(("suffix", "codec"), [*CONTAINER_CODECS, (".mkv", "ffv1")])
def test_shape_and_turn_are_kept(tmp_path, suffix, codec):
    path = tmp_path / f"out{suffix}"
    turned = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    source = info(45, 24, sample_aspect_ratio=Fraction(64, 45), display_matrix=turned)
    write_all(sink_for(path, source, 90, 48, codec=codec), [0, 40], 80)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(64, 45)
        frame = next(container.decode(stream))
        matrix = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32)
    assert tuple(matrix) == turned


@pytest.mark.parametrize(
    ("size", "ratio"),
    [((1440, 1152), "64/45"), ((1440, 1151), "64/45"), ((1920, 1080), "1"), ((2160, 1728), "64/45")],
)
def test_another_size_keeps_the_display_aspect_ratio(size, ratio):
    source = info(720, 576, sample_aspect_ratio=Fraction(64, 45))
    assert scaled_aspect_ratio(source, *size) == Fraction(ratio)


def test_metadata_is_written(tmp_path):
    for suffix in SUFFIXES.values():
        path = tmp_path / f"out{suffix}"
        write_all(sink_for(path, info(), metadata={"title": "Kurz"}), [0, 40], 80)
        with av.open(str(path)) as container:
            assert container.metadata["title"] == "Kurz"


def test_a_frame_that_is_none_of_this_video_is_an_error(tmp_path):
    sink = sink_for(tmp_path / "out.mp4", info())
    with pytest.raises(VideoError, match="planes of"):
        sink.write(Frame(image(YUV420, 62, 48), 0, 40))
    with pytest.raises(VideoError, match="integers of 1 bytes"):
        sink.write(Frame(tuple(p.to(torch.uint16) for p in image(YUV420, 64, 48)), 0, 40))
    sink.write(Frame(image(YUV420, 64, 48), 100, 40))
    with pytest.raises(VideoError, match="Timestamps must increase"):
        sink.write(Frame(image(YUV420, 64, 48), 100, 40))
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_source_frames_do_not_decide_where_key_frames_are(tmp_path):
    path = tmp_path / "out.mp4"
    write_all(sink_for(path, info(), codec="h264"), list(range(0, 2000, 40)), 2000)
    with av.open(str(path)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert sum(keys) == 1


def test_mp4_can_be_played_while_it_loads(tmp_path):
    write_all(sink_for(tmp_path / "out.mp4", info()), [0, 40], 80)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_hevc_in_mp4_has_the_tag_that_apple_plays(tmp_path):
    write_all(sink_for(tmp_path / "out.mp4", info(), codec="hevc"), [0, 40], 80)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_giving_up_while_the_encoder_is_emptied_leaves_nothing(tmp_path):
    sink = sink_for(tmp_path / "out.mp4", info())
    for frame in frames(sink.format.layout, 64, 48, list(range(0, 400, 40)), 400):
        sink.write(frame)
    sink.finish(cancelled=lambda: True)
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_the_encoder_refuses_is_said_before_the_first_frame(tmp_path):
    encoding = choose_encoder(FrameFormat(64, 48, YUV420, Color()), "mp4", EncoderOptions("h264"))
    huge = replace(encoding.frames, width=20000, height=20000)
    with pytest.raises(VideoError, match="libx264 refuses 20000x20000 in yuv420p"):
        VideoWriter(tmp_path / "out.mp4", info(), replace(encoding, frames=huge))
    assert list(tmp_path.iterdir()) == []
