"""A reader reports the color and metadata of a stream, and which stream it chose."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from supertile.tests.video.media import read
from supertile.video.errors import VideoError
from supertile.video.frames import Layout, StaticHdr
from supertile.video.read.file import VideoReader
from supertile.video.read.probe import side_data

# --- color and what else a stream says of itself --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "matrix"), [((320, 240), 6), ((720, 576), 5), ((1024, 576), 5), ((1026, 100), 1), ((100, 720), 1)]
)
def test_untagged_matrix_goes_by_the_size(
    make_video: Callable, smooth: Callable, size: tuple[int, int], matrix: int
) -> None:
    info = read(make_video("in.mkv", [smooth("yuv420p", *size)]))[0].info
    assert (info.color.matrix, info.color.full_range, info.color.tagged) == (matrix, False, False)
    assert info.color.siting == "left"


def test_tags_win_over_the_usual_rule(make_video: Callable, smooth: Callable) -> None:
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    color = read(make_video("in.mkv", [smooth("yuv420p10le", 64, 48)], "yuv420p10le", tags=tags))[0].info.color
    assert (color.matrix, color.primaries, color.transfer, color.full_range, color.tagged) == (
        9,
        9,
        16,
        False,
        True,
    )
    assert color.hdr
    assert color.siting == "topleft"  # of UHD television, where the file does not say


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("libx264", "yuvj420p"), ("libsvtav1", "yuv420p"), ("mjpeg", "yuvj420p")]
)
def test_both_spellings_of_full_range(make_video: Callable, smooth: Callable, codec: str, pix_fmt: str) -> None:
    frame = smooth("yuv420p", 64, 64)
    reader, _, _ = read(make_video("in.mkv", [frame], pix_fmt, codec, tags={"color_range": 2, "colorspace": 1}))
    assert reader.info.color.full_range
    assert reader.info.layout == Layout("yuv", 8, (1, 1))


@pytest.mark.parametrize(("location", "siting"), [(0, "left"), (1, "center"), (2, "topleft")])
def test_siting_is_read_from_the_stream(make_video: Callable, smooth: Callable, location: int, siting: str) -> None:
    options = {"x264-params": f"chromaloc={location}"}
    for suffix in ("mp4", "mkv"):
        path = make_video(f"in.{suffix}", [smooth("yuv420p", 64, 48)], codec="libx264", options=options)
        assert read(path)[0].info.color.siting == siting


def test_gray_is_full_range_unless_it_is_tagged_or_coded_as_luma(make_video: Callable, smooth: Callable) -> None:
    gray = [smooth("gray", 64, 48)]
    assert read(make_video("a.mkv", gray, "gray", "ffv1"))[0].info.color.full_range
    assert not read(make_video("b.mkv", gray, "gray", "ffv1", tags={"color_range": 1}))[0].info.color.full_range


def test_an_unusual_matrix_is_warned_of(make_video: Callable, smooth: Callable) -> None:
    _, _, said = read(make_video("in.mkv", [smooth("yuv444p", 64, 48)], "yuv444p", tags={"colorspace": 8}))
    assert len(said) == 1
    assert "YCgCo" in said[0]


def test_rotation_and_pixel_shape_are_told_not_applied(make_video: Callable, smooth: Callable) -> None:
    quarter = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path = make_video(
        "in.mp4", [smooth("yuv420p", 64, 48)], codec="libx264", sar=Fraction(64, 45), display_matrix=quarter
    )
    reader, (frame,), _ = read(path)
    assert reader.info.display_matrix == quarter
    assert reader.info.sample_aspect_ratio == Fraction(64, 45)
    assert frame.planes[0].shape == (48, 64)
    assert read(make_video("plain.mp4", [smooth("yuv420p", 64, 48)], codec="libx264"))[0].info.display_matrix is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_static_hdr_metadata_is_exact(make_video: Callable, smooth: Callable, suffix: str) -> None:
    x265 = (
        "log-level=none:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
        ":max-cll=1000,400:hdr-opt=1:repeat-headers=1:bframes=0"  # two frames leave its dts of B-frames undefined
    )
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    frames = [smooth("yuv420p10le", 64, 64)] * 2
    path = make_video(f"in.{suffix}", frames, "yuv420p10le", "libx265", tags=tags, options={"x265-params": x265})
    reader, given, said = read(path)
    unit = Fraction(1, 50000)
    assert reader.info.hdr.content_light == (1000, 400)
    assert reader.info.hdr.mastering == (
        (13250 * unit, 34500 * unit), (7500 * unit, 3000 * unit), (34000 * unit, 16000 * unit),
        (15635 * unit, 16450 * unit), (Fraction(1000), Fraction(1, 200)),
    )  # fmt: skip
    assert len(given) == 2
    assert said == []


def test_dynamic_metadata_is_named() -> None:
    """No encoder here writes any; PyAV's names of the kinds are what counts."""
    kinds = [av.sidedata.sidedata.Type[name] for name in ("DYNAMIC_HDR_PLUS", "DOVI_RPU_BUFFER", "DOVI_METADATA")]
    frame = SimpleNamespace(side_data=[FakeSideData(kind) for kind in kinds])
    assert side_data(frame) == (StaticHdr(), None, {"HDR10+", "Dolby Vision"})  # type: ignore[arg-type]


class FakeSideData(bytes):
    def __new__(cls, kind: Any, payload: bytes = b"payload") -> FakeSideData:
        data = super().__new__(cls, payload)
        data.type = kind  # type: ignore[attr-defined]
        return data


def test_mastering_data_that_is_half_there_is_left_out() -> None:
    numbers = [1, 2] * 10
    kind = av.sidedata.sidedata.Type.MASTERING_DISPLAY_METADATA
    for flags in ([1, 0], [0, 1], [0, 0]):
        data = FakeSideData(kind, struct.pack("=22i", *numbers, *flags))
        assert side_data(SimpleNamespace(side_data=[data]))[0] == StaticHdr()  # type: ignore[arg-type]


def test_alpha_of_vp9_is_decoded(make_video: Callable, smooth: Callable) -> None:
    planes = smooth("yuva420p", 64, 48)
    planes[3][:, :32], planes[3][:, 32:] = 0, 255
    path = make_video("in.webm", [planes] * 3, "yuva420p", "libvpx-vp9", options={"crf": "10", "auto-alt-ref": "0"})
    reader, frames, _ = read(path)
    assert reader.info.layout == Layout("yuv", 8, (1, 1), True)
    assert len(frames) == 3
    assert frames[1].planes[3][:, :28].max() < 12
    assert frames[1].planes[3][:, 36:].min() > 243


def test_prores_4444_keeps_its_alpha_and_depth(make_video: Callable, smooth: Callable) -> None:
    frames = [smooth("yuva444p10le", 64, 48)]
    layout = read(make_video("in.mov", frames, "yuva444p10le", "prores_ks"))[0].info.layout
    assert (layout.model, layout.depth, layout.alpha) == ("yuv", 12, True)


# --- which stream ---------------------------------------------------------------------------------------------------


def test_the_default_stream_then_the_largest(shared_video: Callable) -> None:
    with VideoReader(shared_video("nasa_13013.mp4")) as reader:
        assert reader.info.stream_index == 3  # 480x270 beside 320x180, both default
        assert (reader.info.width, reader.info.frames, reader.info.frame_rate) == (480, 390, Fraction(30000, 1001))
        assert next(iter(reader)).duration == 1001


def cover_only(path: Path) -> Path:
    """A FLAC-less sound file with a cover: sound and an attached image in one MP4."""
    png = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (16, 16), (255, 0, 0)).save(png, "PNG")
    source = av.open(io.BytesIO(png.getvalue()), "r")
    with av.open(str(path), "w") as output:
        sound: Any = output.add_stream("aac", rate=8000)
        cover = output.add_stream_from_template(source.streams.video[0], opaque=True)
        cover.disposition = av.stream.Disposition.attached_pic
        packet = next(source.demux(source.streams.video[0]))
        packet.stream = cover
        output.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 8000
        for moment in range(4):
            silence.pts = moment * 1024
            output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
    return path


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"song\.mp4 contains only a cover image and audio\."):
        VideoReader(cover_only(tmp_path / "song.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    head = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    path.write_bytes(b"RIFF\x44\x03\0\0WAVEfmt " + head + b"data\x20\x03\0\0" + bytes(800))
    with pytest.raises(VideoError, match="no video, only audio"):
        VideoReader(path)


class FrameWithUnknownSideData:
    """A frame of MV-HEVC, as PyAV 18 reads it."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self.rotation = frame.rotation

    @property
    def side_data(self) -> None:
        raise ValueError("29 is not a valid Type")


@pytest.mark.parametrize("turn", [(0, 65536, -65536, 0), (0, -65536, 65536, 0), (-65536, 0, 0, -65536)])
def test_the_rotation_is_kept_beside_side_data_that_pyav_does_not_know(tmp_path, turn):
    a, b, c, d = turn
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix(matrix)
        output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert side_data(frame)[1] == matrix
    assert side_data(FrameWithUnknownSideData(frame)) == (StaticHdr(), matrix, set())  # type: ignore[arg-type]
