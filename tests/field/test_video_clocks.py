"""Clocks of files that people have: they start at any time, start anew, jump, or count what is not shown."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import pytest
from supertile import EncoderOptions, Span, Upscaler, upscale_video
from supertile.tests.field.recordings import field_file, found, gaps, recording

FRAME = 1 / 25
AAC = 1024 / 48000


@pytest.fixture
def identity(enlarger) -> Upscaler:
    return Upscaler(enlarger(1), precision="fp32")


@pytest.fixture
def upscaled(identity, tmp_path):
    """`upscaled(data or path, suffix)`: (what is found in the result, report)."""

    def run(source, suffix=".mkv", name="in.ts", **options):
        if isinstance(source, bytes):
            (tmp_path / name).write_bytes(source)
            source = tmp_path / name
        target = tmp_path / f"out{suffix}"
        options.setdefault("encoder", EncoderOptions(preset="ultrafast"))
        report = upscale_video(source, target, identity, overwrite=True, warn=lambda text: None, **options)
        return found(target), report

    return run


def is_steady(times, step, tolerance=0.0016):
    return all(abs(gap - step) <= tolerance for gap in gaps(times))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
@pytest.mark.parametrize("start", [30_000, 95_443.0, 3 * 3600 + 0.5])  # 95,443.7 s is where 33 bits end
def test_a_broadcast_clock_starts_at_0(upscaled, suffix, start):
    result, report = upscaled(recording(1, start), suffix)
    assert (report.frames, report.complete) == (25, True)
    assert 0 <= result.of("video")[0] < 0.1
    assert -0.03 < result.of("audio")[0] < 0.03
    assert is_steady(result.of("video"), FRAME)
    assert result.duration == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("format", "name"), [("matroska", "in.mkv"), ("mp4", "in.mp4"), ("flv", "in.flv")])
def test_other_containers_that_begin_late_start_at_0_too(upscaled, format, name):
    result, report = upscaled(recording(1, 5000, format=format), ".mkv", name)
    assert (report.frames, report.complete) == (25, True)
    assert result.of("video")[0] < 0.2
    assert abs(result.of("video")[0] - result.of("audio")[0]) < 0.15


def test_a_small_delay_stays(upscaled):
    result, _ = upscaled(recording(1, 0.5))
    assert result.of("video")[0] == pytest.approx(0.58, abs=0.1)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("second", [0, 1, 2000, 8, 15, 3 * 3600])
def test_a_clock_that_starts_anew_or_jumps_runs_on(upscaled, suffix, second):
    """Two recordings of 3 s are joined byte by byte."""
    first = 1000 if second == 1 else 0
    result, report = upscaled(recording(3, first) + recording(3, second), suffix)
    video, audio = result.of("video"), result.of("audio")
    assert report.frames == len(video) == 150
    assert is_steady(video, FRAME)
    assert float(report.duration) == pytest.approx(6, abs=0.001)
    assert [text for text in report.warnings if "clock" in text] == report.warnings
    assert len(report.warnings) == 1
    assert "after 3.00 s" in report.warnings[0]
    assert report.complete
    later = [time for time in audio if time > video[75] - AAC]
    assert len(later) == pytest.approx(141, abs=3)
    assert audio[-1] == pytest.approx(video[-1], abs=0.1)
    assert max(gaps(audio)) <= 2 * AAC + 0.002


def test_many_joins_and_no_sound(upscaled):
    result, report = upscaled(b"".join(recording(1, start, sounds=()) for start in (7, 3, 500, 3, 3)))
    assert report.frames == 125
    assert is_steady(result.of("video"), FRAME)
    assert len(report.warnings) == 1
    assert "3 more times" in report.warnings[0]


def test_joined_program_streams(upscaled):
    part = recording(3, format="mpeg", video="mpeg2video", sounds=("mp2",))
    result, report = upscaled(part + part, name="in.mpg")
    assert report.frames == 150
    assert is_steady(result.of("video"), FRAME)
    assert result.of("audio")[-1] == pytest.approx(result.of("video")[-1], abs=0.15)


LIVE = {"live": "1"}  # a Matroska file of unknown length, as browsers record


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [("in.flv", {}, 3), ("in.mkv", {}, 2), ("in.mkv", LIVE, 2), ("in.mkv", {}, 4)],
)
def test_other_containers_that_were_joined(upscaled, suffix, name, options, parts):
    """FFmpeg reads FLV to the end of the first file only, and starts the clock of Matroska anew."""
    format = "matroska" if name.endswith("mkv") else "flv"
    part = recording(3, format=format, options=options)
    result, report = upscaled(part * parts, suffix, name)
    video, audio = result.of("video"), result.of("audio")
    assert report.frames == len(video) == 75 * parts
    assert is_steady(video, FRAME)
    assert result.types == ["video", "audio"]
    assert len(audio) == pytest.approx(3 * parts / AAC, abs=2 * parts)
    assert max(gaps(audio)) <= 2 * AAC + 0.002
    assert audio[-1] == pytest.approx(video[-1], abs=0.06)
    assert len(report.warnings) == 1
    assert "clock" in report.warnings[0]
    assert report.complete


@pytest.mark.parametrize(("name", "format"), [("in.flv", "flv"), ("in.mkv", "matroska")])
def test_a_span_of_other_containers_that_were_joined(upscaled, name, format):
    data = recording(3, format=format) * 2
    result, report = upscaled(data, name=name, span=Span(2.6, 3.4))
    assert report.frames == 20
    assert is_steady(result.of("video"), FRAME)
    assert result.of("audio")[-1] == pytest.approx(0.8, abs=0.07)
    result, report = upscaled(io.BytesIO(data), span=Span(4))
    assert report.frames == 50


@pytest.mark.parametrize("options", [{}, LIVE])
def test_a_pause_in_matroska_is_no_jump(upscaled, tmp_path, options):
    """A screen that was recorded while nothing moved."""
    with av.open(str(tmp_path / "in.mkv"), "w", options=options) as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height = 64, 48
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in (0, 40, 80, 9000, 9040, 60_000):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    result, report = upscaled(tmp_path / "in.mkv")
    assert result.of("video") == pytest.approx([0, 0.04, 0.08, 9, 9.04, 60])
    assert report.warnings == []


def remuxed(data, format, place):
    """A recording with the packets at other times: place(type, dts in seconds) -> seconds to add; None to lose one."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=format) as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        packets = [packet for packet in source.demux() if packet.size]
        moved = []
        for packet in packets:
            seconds = place(packet.stream.type, float(packet.dts * packet.time_base))
            if seconds is not None:
                packet.pts += round(Fraction(seconds) / packet.time_base)
                packet.dts += round(Fraction(seconds) / packet.time_base)
                packet.stream = copies[packet.stream_index]
                moved.append(packet)
        for packet in sorted(moved, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return file.getvalue()


PS = {"format": "mpeg", "video": "mpeg2video", "sounds": ("mp2", "mp2")}
TWO = {"sounds": ("aac", "aac")}


@pytest.mark.parametrize(
    ("options", "starts", "suffix"),
    [
        (PS, (5, 200, 1), ".mkv"),
        (PS, (5, 200, 1), ".mp4"),
        ({"format": "mpeg", "sounds": ("mp2",)}, (0, 0, 0), ".mkv"),  # most frames have no times
        (TWO, (95_442.0, 12.0, 7200), ".mp4"),  # 33 bits end
        (TWO, (3, 2, 1), ".webm"),
        ({"options": {"mpegts_m2ts_mode": "1"}}, (0, 500, 503), ".mkv"),
        ({"video": "mpeg2video", "sounds": ("ac3",)}, (30, 3, 6), ".mp4"),
    ],
)
def test_joins_of_many_kinds(upscaled, options, starts, suffix):
    parts = [recording(3, start, **options) for start in starts]
    result, report = upscaled(b"".join(parts), suffix)
    video = result.of("video")
    assert report.frames == len(video) == 225
    assert is_steady(video, FRAME)
    assert report.complete
    assert len([text for text in report.warnings if "clock" in text]) == 1
    for number in range(result.types.count("audio")):
        assert result.of("audio", number)[-1] == pytest.approx(video[-1], abs=0.1)
        assert max(gaps(result.of("audio", number))) < 0.08


@pytest.mark.parametrize(("format", "options"), [("mpeg", PS), ("mpegts", {**PS, "format": "mpegts"})])
@pytest.mark.parametrize("hours", [2, 8])
def test_hours_of_gap(upscaled, format, options, hours):
    data = recording(4, **options)
    result, report = upscaled(remuxed(data, format, lambda kind, time: 0 if time < 2 else 3600 * hours), name="in.mpg")
    assert report.frames == 100
    assert is_steady(result.of("video"), FRAME)
    assert result.of("audio", 1)[-1] == pytest.approx(result.of("video")[-1], abs=0.1)


def test_video_that_begins_after_the_sound(upscaled):
    data = remuxed(recording(3), "mpegts", lambda kind, time: 30_003 if kind == "video" else 30_000)
    for suffix in (".mkv", ".mp4"):
        result, report = upscaled(data, suffix)
        assert (report.frames, report.warnings) == (75, [])
        assert result.of("audio")[0] == pytest.approx(0, abs=0.03)
        assert result.of("video")[0] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("silent", [0, 1])
def test_one_of_three_joined_recordings_has_no_sound(upscaled, silent):
    parts = [
        recording(3, start, sounds=() if number == silent else ("aac",)) for number, start in enumerate((0, 0, 50))
    ]
    result, report = upscaled(b"".join(parts))
    assert report.frames == 225
    assert is_steady(result.of("video"), FRAME)
    assert len(result.of("audio")) == pytest.approx(6 / AAC, abs=4)
    assert result.of("audio")[-1] == pytest.approx(result.of("video")[-1], abs=0.1)


@pytest.mark.parametrize(("start", "end", "frames"), [(1, 2, 25), (4, 5, 25), (2.6, 3.4, 20)])
def test_a_span_of_a_joined_file(upscaled, start, end, frames):
    result, report = upscaled(recording(3, 50) + recording(3, 7), span=Span(start, end))
    assert report.frames == frames
    assert is_steady(result.of("video"), FRAME)
    assert result.of("video")[0] == pytest.approx(0, abs=0.002)
    assert result.of("audio")[0] == pytest.approx(0, abs=0.03)
    assert result.of("audio")[-1] == pytest.approx(end - start, abs=0.06)
    assert result.types == ["video", "audio"]


def test_a_joined_file_object(upscaled):
    result, report = upscaled(io.BytesIO(recording(3, 50) + recording(3, 7)))
    assert report.frames == len(result.of("video")) == 150


def test_the_joined_recordings_of_the_shared_folder(upscaled):
    for suffix in (".mkv", ".mp4"):
        result, report = upscaled(field_file("join3.ts"), suffix)
        assert report.frames == 150
        assert float(report.duration) == 6
        assert len(report.warnings) == 1
        assert result.of("audio")[-1] == pytest.approx(result.of("video")[-1], abs=0.1)


def test_frames_hidden_by_an_edit_list_are_not_missing(upscaled):
    result, report = upscaled(field_file("trim.mp4"), ".mp4")
    assert (report.frames, report.complete, report.warnings) == (30, True, [])
    assert result.of("video")[-1] == pytest.approx(1.16, abs=0.001)
    assert float(report.duration) == pytest.approx(1.2)


def test_packed_b_frames_are_shown_in_even_steps(upscaled):
    result, report = upscaled(field_file("packed.avi"))
    assert (report.frames, report.read.repaired_pts, report.warnings) == (25, 0, [])
    assert is_steady(result.of("video"), FRAME)


@pytest.mark.parametrize("bf", [0, 2])
def test_mpeg4_in_avi_keeps_its_times(upscaled, tmp_path, bf):
    data = recording(1, format="avi", video="mpeg4", sounds=("libmp3lame",), bf=bf)
    result, report = upscaled(data, name="in.avi")
    assert (report.frames, report.read.repaired_pts, report.complete) == (25, 0, True)
    assert is_steady(result.of("video")[1:], FRAME)  # FFmpeg's muxer repeats the first frame
    with av.open(str(tmp_path / "out.mkv")) as file:
        luma = [frame.to_ndarray()[:48].mean() for frame in file.decode(video=0)]
    assert luma == sorted(luma)


def test_an_avi_that_was_cut_short_is_incomplete(upscaled):
    data = recording(2, format="avi", video="mjpeg", sounds=("libmp3lame",))
    result, report = upscaled(data, name="in.avi")
    assert (report.frames, report.complete, report.warnings) == (50, True, [])
    result, report = upscaled(data[: len(data) * 6 // 10], name="in.avi")
    assert 20 < report.frames < 40
    assert report.frames == len(result.of("video"))
    assert not report.complete
    assert report.read.missing_frames == 50 - report.frames


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_reordered_frames_in_avi_are_shown_in_even_steps(upscaled, codec):
    result, report = upscaled(recording(1, format="avi", video=codec), name="in.avi")
    assert (report.frames, report.read.repaired_pts, report.warnings) == (25, 0, [])
    assert is_steady(result.of("video"), FRAME)


def test_a_wrong_frame_rate_is_not_believed(upscaled):
    """Phones write a default duration of 1 ms into Matroska."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        picture = output.add_stream("libx264", rate=1000)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = 33 * number, Fraction(1, 1000)
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
    for suffix in (".mkv", ".mp4"):
        _, report = upscaled(file.getvalue(), suffix, "in.mkv", span=Span(end=1))
        assert (report.frames, report.complete, report.warnings) == (31, True, [])
        assert report.duration == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_before_0_are_moved_and_not_hidden(upscaled, tmp_path, suffix):
    options = {"avoid_negative_ts": "disabled"}
    data = recording(1, -0.4, format="matroska", video="mpeg4", sounds=("pcm_s16le",), bf=0, options=options)
    (tmp_path / "in.mkv").write_bytes(data)
    source = found(tmp_path / "in.mkv")
    assert source.of("video")[0] == pytest.approx(-0.4)
    for span in (Span(), Span(end=0.2)):
        result, report = upscaled(data, suffix, "in.mkv", span=span)
        video, audio = result.of("video"), result.of("audio")
        assert report.frames == len(video) == (5 if span.end else 25)
        assert video[0] == pytest.approx(0, abs=0.03)
        assert is_steady(video, FRAME)
        assert audio[0] - video[0] == pytest.approx(source.of("audio")[0] - source.of("video")[0], abs=0.0016)


def test_a_time_beyond_any_clock_is_unknown(upscaled):
    data = bytearray(recording(1, format="ivf", video="libvpx", sounds=()))
    position, number = 32, 0
    while position < len(data):
        size, _ = struct.unpack_from("<Iq", data, position)
        struct.pack_into("<q", data, position + 4, -(2**63) + 5 if number == 20 else 500 + number)
        position, number = position + 12 + size, number + 1
    result, report = upscaled(bytes(data), name="in.ivf")
    assert report.frames == len(result.of("video")) >= 20


@pytest.mark.parametrize(("format", "name", "video"), [("mp4", "in.mp4", "libx264"), ("asf", "in.wmv", "msmpeg4")])
def test_files_that_cannot_be_joined_are_counted(upscaled, format, name, video):
    one = recording(1, format=format, video=video)
    _, report = upscaled(one, name=name)
    assert (report.frames, report.read.later_files, report.complete) == (25, 0, True)
    _, report = upscaled(one + one + one, name=name)
    assert (report.frames, report.read.later_files, report.complete) == (25, 2, False)
    assert any("2 other files were appended" in sentence for sentence in report.warnings)
