"""Video files in: planes to the bit, times to the tick, and what damaged, odd and hostile files come to."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from supertile.video.errors import VideoError
from supertile.video.frames import Frame, Layout, Span, StaticHdr
from supertile.video.read.file import VideoReader
from supertile.video.read.planes import pixel_format, planes_of
from supertile.video.read.probe import side_data

VFR = [0, 40, 41, 100, 133, 167, 500, 501, 502, 900, 1000, 1234]  # ms


def read(source: Any, **options: Any) -> tuple[VideoReader, list[Frame], list[str]]:
    """(reader, closed; all its frames; all its warnings)."""
    said: list[str] = []
    with VideoReader(source, warn=said.append, **options) as reader:
        return reader, list(reader), said


def arrays(frame: Frame) -> list[np.ndarray]:
    return [plane.numpy() for plane in frame.planes]


def same(frame: Frame, planes: list[np.ndarray]) -> bool:
    return len(frame.planes) == len(planes) and all(
        np.array_equal(a, b) for a, b in zip(arrays(frame), planes, strict=True)
    )


# --- planes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pix_fmt", "layout"),
    [
        ("yuv420p", Layout("yuv", 8, (1, 1))),
        ("yuv422p", Layout("yuv", 8, (1, 0))),
        ("yuv444p", Layout("yuv", 8)),
        ("yuv440p", Layout("yuv", 8, (0, 1))),
        ("yuv411p", Layout("yuv", 8, (2, 0))),
        ("yuv410p", Layout("yuv", 8, (2, 2))),
        ("yuva420p", Layout("yuv", 8, (1, 1), True)),
        ("yuv420p10le", Layout("yuv", 10, (1, 1))),
        ("yuv422p12le", Layout("yuv", 12, (1, 0))),
        ("yuv444p16le", Layout("yuv", 16)),
        ("yuva444p10le", Layout("yuv", 10, (0, 0), True)),
        ("gray", Layout("gray")),
        ("gray10le", Layout("gray", 10)),
        ("gray16le", Layout("gray", 16)),
    ],
)
def test_planes_come_out_of_a_file_to_the_bit(
    make_video: Callable, noise: Callable, pix_fmt: str, layout: Layout
) -> None:
    frames = [noise(pix_fmt, 66, 49, seed) for seed in range(3)]
    reader, given, said = read(make_video("in.mkv", frames, pix_fmt, "ffv1"))
    assert reader.info.layout == layout
    assert (reader.info.width, reader.info.height) == (66, 49)
    assert [same(frame, planes) for frame, planes in zip(given, frames, strict=True)] == [True] * 3
    assert said == []


def test_rgb_planes_are_in_the_order_of_their_letters(make_video: Callable, noise: Callable) -> None:
    for codec, pix_fmt, order in [("ffv1", "gbrp10le", (2, 0, 1)), ("ffv1", "gbrap12le", (2, 0, 1, 3))]:
        planes = noise(pix_fmt, 34, 20)
        reader, (frame,), _ = read(make_video(f"{pix_fmt}.mkv", [planes], pix_fmt, codec))
        assert reader.info.layout == Layout("rgb", int(pix_fmt[-4:-2]), alpha=len(order) == 4)
        assert reader.info.color.full_range
        assert same(frame, [planes[i] for i in order])
    for codec, pix_fmt, letters, suffix in [
        ("png", "rgb24", "rgb", "mov"), ("png", "rgba", "rgba", "mov"), ("qtrle", "argb", "argb", "mov"),
        ("png", "rgb48be", "rgb", "mov"), ("png", "rgba64be", "rgba", "mov"),
    ]:  # fmt: skip
        (packed,) = noise(pix_fmt, 34, 20)
        reader, (frame,), _ = read(make_video(f"{pix_fmt}.{suffix}", [[packed]], pix_fmt, codec, size=(34, 20)))
        assert same(frame, [packed[:, letters.index(c) :: len(letters)] for c in "rgba"[: len(letters)]])


REFORMATTER = av.video.reformatter.VideoReformatter()

# Formats that decoders of rare files give, each beside a planar one that swscale shuffles it from without loss.
SHUFFLED = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "nv42": "yuv444p",
    "p010le": "yuv420p10le", "p010be": "yuv420p10le", "p012le": "yuv420p12le", "p016le": "yuv420p16le",
    "p210le": "yuv422p10le", "p416le": "yuv444p16le",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p", "y210le": "yuv422p10le", "y212le": "yuv422p12le",
    "yuv420p10be": "yuv420p10le", "yuv444p16be": "yuv444p16le", "gray16be": "gray16le", "gray12be": "gray12le",
    "vuya": "yuva444p", "ayuv": "yuva444p", "uyva": "yuva444p", "ayuv64le": "yuva444p16le", "xv36le": "yuv444p12le",
    "xv30le": "yuv444p10le", "v30xle": "yuv444p10le",
    "rgb24": "gbrp", "bgr24": "gbrp", "0rgb": "gbrp", "bgr0": "gbrp", "rgba": "gbrap", "bgra": "gbrap",
    "abgr": "gbrap", "argb": "gbrap", "rgb48le": "gbrp16le", "bgr48be": "gbrp16le", "rgba64le": "gbrap16le",
    "x2rgb10le": "gbrp10le", "ya8": "yuva444p", "ya16be": "ya16le",
}  # fmt: skip


@pytest.mark.parametrize("pix_fmt", SHUFFLED)
def test_every_way_to_lay_samples_out_is_read(
    pix_fmt: str, noise: Callable, frame_from: Callable, planes_of: Callable
) -> None:
    planar = SHUFFLED[pix_fmt] if pix_fmt != "ya8" else "ya8"
    planes = noise(planar, 64, 48)
    frame = frame_from(planes, planar, 64, 48)
    if planar != pix_fmt:
        frame = REFORMATTER.reformat(frame, format=pix_fmt)
    if planar.startswith("gbr"):
        planes = [planes[2], planes[0], planes[1], *planes[3:]]
    if planar.startswith("ya"):
        planes = [planes[0][:, 0::2], planes[0][:, 1::2]]
    given = read_planes(frame)
    assert len(given) == len(planes) == pixel_format(pix_fmt).layout.planes
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(given, planes, strict=True))


def read_planes(frame: av.VideoFrame) -> tuple:
    return planes_of(frame, REFORMATTER)


def test_palettes_and_single_bits(frame_from: Callable) -> None:
    frame = av.VideoFrame(16, 2, "monow")  # 0 is white
    frame.planes[0].update(np.resize(np.array([0b00001111, 0xFF], np.uint8), frame.planes[0].buffer_size).tobytes())
    (gray,) = read_planes(frame)
    assert gray[0].tolist() == [255] * 4 + [0] * 12

    palette = np.arange(256 * 4, dtype=np.uint8).reshape(256, 4)
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
    red, green, blue, alpha = read_planes(frame)
    stored = np.asarray(bytes(memoryview(frame.planes[1])), dtype="S1024").tobytes() or bytes(1024)
    assert red.shape == (3, 4)
    b_g_r_a = np.frombuffer(stored.ljust(1024, b"\0"), np.uint8).reshape(256, 4)[indices]
    assert np.array_equal(np.stack([blue, green, red, alpha], -1), b_g_r_a)


def test_hardware_surfaces_and_floats_have_no_layout() -> None:
    for name in ("cuda", "gbrpf32le", "gray32le"):
        with pytest.raises(KeyError):
            pixel_format(name)


def test_planes_stay_when_the_reader_is_gone(make_video: Callable, noise: Callable) -> None:
    planes = [noise("yuv420p", 32, 32, seed) for seed in range(8)]
    reader, frames, _ = read(make_video("in.mkv", planes))
    reader.close()
    reader.close()
    assert all(same(frame, p) for frame, p in zip(frames, planes, strict=True))


# --- color and what else a stream says of itself -------------------------------------------------------------------


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


def test_rows_stored_from_the_bottom_up(noise: Callable, frame_from: Callable) -> None:
    (packed,) = noise("bgr24", 34, 20)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=34, height=20, format="bgr24", time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(frame_from([packed], "bgr24", 34, 20))
    frame = graph.pull()
    assert frame.planes[0].line_size < 0  # as some AVI decode
    given = [plane.numpy() for plane in read_planes(frame)]
    assert np.array_equal(given, [packed[::-1, 2::3], packed[::-1, 1::3], packed[::-1, 0::3]])


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
    with pytest.raises(VideoError, match=r"song\.mp4 holds only a cover image and sound\."):
        VideoReader(cover_only(tmp_path / "song.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    head = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    path.write_bytes(b"RIFF\x44\x03\0\0WAVEfmt " + head + b"data\x20\x03\0\0" + bytes(800))
    with pytest.raises(VideoError, match="no video, only sound"):
        VideoReader(path)


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
    assert any("declares 30 frames, 29" in sentence for sentence in said)
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


# --- what is no video -----------------------------------------------------------------------------------------------


def test_words_for_what_is_no_video(tmp_path: Path, make_video: Callable, smooth: Callable) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is not a video, it is a letter.\n" * 9)
    (tmp_path / "text.txt").write_text("This is not a video, it is a letter.\n" * 9)
    (tmp_path / "zeros.mkv").write_bytes(bytes(1000))
    os.mkfifo(tmp_path / "pipe")
    mp4 = make_video("whole.mp4", [smooth("yuv420p", 64, 48)] * 9, codec="libx264")
    (tmp_path / "no_moov.mp4").write_bytes(mp4.read_bytes()[:600])
    (tmp_path / "head.mkv").write_bytes(make_video("whole.mkv", [smooth("yuv420p", 64, 48)]).read_bytes()[:100])
    for name, words in [
        ("missing.mp4", "does not exist"),
        (".", "is a folder"),
        ("text.mp4/inside.mp4", "does not exist"),
        ("pipe", "is a pipe"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is a text file"),
        ("text.txt", "is a text file"),
        ("zeros.mkv", "cannot be opened as a video"),
        ("no_moov.mp4", "cannot be opened as a video"),
        ("head.mkv", "cannot be opened as a video|holds no video|not one frame"),
        ("a" * 300, "cannot be read"),
    ]:
        path = tmp_path / name
        with pytest.raises(VideoError, match=words) as caught:
            VideoReader(path)
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(make_video: Callable, smooth: Callable) -> None:
    path = make_video("in.mkv", [smooth("yuv420p", 32, 32)])
    path.chmod(0)
    with pytest.raises(VideoError, match="permission denied"):
        VideoReader(path)


def test_only_local_files_are_opened(make_video: Callable, smooth: Callable, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video("real.mkv", [smooth("yuv420p", 32, 32)])
    for name in (
        "http://127.0.0.1:9/x.mp4",
        "concat:real.mkv|real.mkv",
        "pipe:0",
        "file:real.mkv",
        "subfile,,start,0,end,9,,:real.mkv",
    ):
        with pytest.raises(VideoError, match="does not exist"):
            VideoReader(name)
    odd = tmp_path / "http:"
    odd.mkdir()
    (odd / "-v %d clip|é.mkv").write_bytes((tmp_path / "real.mkv").read_bytes())
    assert len(read("http:/-v %d clip|é.mkv")[1]) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{real}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{real}\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile {real}\n"),
        ("list.mkv", "ffconcat version 1.0\nfile {real}\n"),
        ("stream.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
        ("list.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>\n'),
    ],
)
def test_files_that_name_other_files_are_refused(
    make_video: Callable, smooth: Callable, tmp_path: Path, name: str, text: str
) -> None:
    real = make_video("real.mkv", [smooth("yuv420p", 32, 32)])
    (tmp_path / name).write_text(text.format(real=real.name))
    with pytest.raises(VideoError, match="playlist"):
        VideoReader(tmp_path / name)
    with pytest.raises(VideoError), open(tmp_path / name, "rb") as file:
        VideoReader(file)


def test_absurd_dimensions_are_refused_before_memory(make_video: Callable, smooth: Callable, tmp_path: Path) -> None:
    data = make_video("in.mkv", [smooth("yuv420p", 300, 300)]).read_bytes()
    width = b"\xb0\x82\x01\x2c"  # Matroska's PixelWidth, two bytes: 300
    assert data.count(width) == 1
    huge = tmp_path / "huge.mkv"
    huge.write_bytes(data.replace(width, b"\xb0\x82\xff\xf0"))
    with pytest.raises(VideoError, match=r"huge\.mkv declares frames of 65520x300; more than 16384"):
        VideoReader(huge)


def test_a_video_of_no_decodable_frame(make_video: Callable, noise: Callable, tmp_path: Path) -> None:
    whole = make_video("whole.mkv", [noise("yuv420p", 64, 48)] * 3, codec="libx264")
    with av.open(str(whole)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    for position, size in places:
        data[position + 5 : position + size] = bytes(size - 5)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(data)
    said: list[str] = []
    with pytest.raises(VideoError, match=r"broken\.mkv holds a video stream, but not one frame"):
        VideoReader(broken, warn=said.append)


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


# --- interlaced -----------------------------------------------------------------------------------------------------


def combed(width: int, height: int, moment: int) -> list[np.ndarray]:
    """A bar that moves between the two fields of a frame."""
    luma = np.full((height, width), 40, np.uint8)
    for field in (0, 1):
        left = 8 * moment + 4 * field
        luma[field::2, left : left + 16] = 200
    return [luma, *(np.full((height // 2, width // 2), 128, np.uint8) for _ in "uv")]


def combing(luma: np.ndarray) -> float:
    """How much neighboring lines differ, against lines two apart."""
    rows = luma.astype(float)
    return float(np.abs(rows[2:-2] - (rows[1:-3] + rows[3:-1]) / 2).mean())


def test_interlaced_frames_are_deinterlaced_one_for_one(make_video: Callable) -> None:
    frames = [combed(160, 96, moment) for moment in range(8)]
    options = {"x264-params": "tff=1:qp=4", "flags": "+ildct+ilme"}
    path = make_video("in.mkv", frames, codec="libx264", options=options, interlaced=True)
    plain, raw, _ = read(path, deinterlace="no")
    reader, auto, _ = read(path)
    assert plain.info.interlaced
    assert reader.info.interlaced
    assert combing(raw[4].planes[0].numpy()) > 5
    assert combing(auto[4].planes[0].numpy()) < 1
    for frames_given in (raw, auto):
        assert [frame.pts for frame in frames_given] == [40 * i for i in range(8)]
        assert [frame.duration for frame in frames_given] == [40] * 8


def test_progressive_frames_are_left_alone_unless_told(make_video: Callable) -> None:
    frames = [combed(160, 96, moment) for moment in range(5)]
    path = make_video("in.mkv", frames)
    reader, auto, _ = read(path)
    assert not reader.info.interlaced
    assert all(same(a, b) for a, b in zip(auto, frames, strict=True))
    _, treated, _ = read(path, deinterlace="yes")
    assert len(treated) == 5
    assert combing(treated[2].planes[0].numpy()) < 1 < combing(auto[2].planes[0].numpy())


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "yuv444p", "gbrp10le", "gray", "yuva420p"])
def test_deinterlacing_keeps_the_format(make_video: Callable, smooth: Callable, pix_fmt: str) -> None:
    path = make_video("in.mkv", [smooth(pix_fmt, 64, 48, seed) for seed in range(3)], pix_fmt)
    plain, _, _ = read(path)
    reader, frames, _ = read(path, deinterlace="yes")
    assert reader.info.layout == plain.info.layout
    assert len(frames) == 3
    assert len(frames[0].planes) == plain.info.layout.planes


def test_another_word_for_deinterlacing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="auto, yes, no"):
        VideoReader(tmp_path / "any.mkv", deinterlace="maybe")
