"""Streams of files that people have: late, renumbered, empty, damaged, or with several frames in a packet."""

from __future__ import annotations

import av
import pytest
from av.stream import Disposition
from supertile import EncoderOptions, SourceOptions, Upscaler, upscale_video
from supertile.tests.field.recordings import field_file, found, gaps, recording
from supertile.tests.video.media import rich_file

AAC = 1024 / 48000


@pytest.fixture
def identity(enlarger) -> Upscaler:
    return Upscaler(enlarger(1), precision="fp32")


@pytest.fixture
def upscaled(identity, tmp_path):
    """`upscaled(data or path, suffix)`: (what is found in the result, report). Nothing else may stay in the folder."""

    def run(source, suffix=".mkv", name="in.ts", **options):
        if isinstance(source, bytes):
            (tmp_path / name).write_bytes(source)
            source = tmp_path / name
        target = tmp_path / "results" / f"out{suffix}"
        options.setdefault("encoder", EncoderOptions(preset="ultrafast"))
        report = upscale_video(source, target, identity, overwrite=True, warn=lambda text: None, **options)
        assert not [file.name for file in target.parent.iterdir() if not file.name.startswith("out")]
        return found(target), report

    return run


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("before", [1, 4])
def test_sound_that_begins_late_is_kept_at_its_time(upscaled, suffix, before):
    """The first part has one sound, the second two: the table of streams changes on the way."""
    data = recording(before) + recording(4, before, sounds=("aac", "aac"))
    result, report = upscaled(data, suffix)
    assert report.warnings == []
    assert report.frames == 25 * (before + 4)
    assert result.types.count("audio") == 2
    second = result.of("audio", 1)
    assert second[0] == pytest.approx(before, abs=0.12)
    assert len(second) == pytest.approx(4 / AAC, abs=3)
    assert max(gaps(second)) < 2 * AAC


def test_sound_that_begins_late_in_a_program_stream(upscaled):
    data = recording(8, format="mpeg", video="mpeg2video", sounds=("mp2", "mp2"), sound_from=(0, 6))
    result, report = upscaled(data, name="in.mpg")
    assert report.warnings == []
    assert result.types.count("audio") == 2
    assert result.of("audio", 1)[0] - result.of("video")[0] == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("second", [3, 0, 500])
def test_stream_numbers_that_change_half_way(upscaled, suffix, second):
    data = recording(3) + recording(3, second, options={"mpegts_start_pid": "512"})
    result, report = upscaled(data, suffix)
    assert report.frames == len(result.of("video")) == 150
    assert float(report.duration) == pytest.approx(6, abs=0.1)
    assert result.types.count("audio") == 1
    assert len(result.of("audio")) == pytest.approx(6 / AAC, abs=6)
    assert result.of("audio")[-1] == pytest.approx(result.of("video")[-1], abs=0.12)
    assert len(report.warnings) == 1
    assert "numbers" in report.warnings[0]


def test_stream_numbers_that_change_twice(upscaled):
    parts = [recording(2, 2 * number, options={"mpegts_start_pid": str(256 * (number + 1))}) for number in range(3)]
    result, report = upscaled(b"".join(parts))
    assert report.frames == len(result.of("video")) == 150
    assert float(report.duration) == pytest.approx(6)
    assert result.types == ["video", "audio"]


def test_video_that_goes_on_in_another_codec_is_incomplete(upscaled):
    data = recording(3) + recording(3, 3, video="mpeg2video", options={"mpegts_start_pid": "512"})
    result, report = upscaled(data)
    assert report.frames == 75
    assert not report.complete
    assert any("another video stream for 3.0" in text for text in report.warnings)
    assert len(result.of("video", 1)) == 75


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(
    ("before", "after", "name"), [("mp2", "aac", "AAC"), ("aac", "mp2", "MPEG audio"), ("ac3", "aac", "AAC")]
)
def test_sound_that_changes_its_codec_is_named_and_not_copied_as_noise(upscaled, suffix, before, after, name):
    data = recording(3, sounds=(before,)) + recording(3, 3.2, sounds=(after,))
    result, report = upscaled(data, suffix)
    assert report.frames == 150
    assert any(f"changes to {name} in mid-stream. That part is left out." in text for text in report.warnings)
    assert result.of("audio")[-1] == pytest.approx(3, abs=0.15)
    assert 90 <= len(result.of("audio")) <= 145


@pytest.mark.parametrize("sound", ["aac", "mp2", "ac3", "eac3", "libmp3lame"])
def test_sound_of_broadcasts_is_taken_for_its_own_codec(upscaled, sound):
    _, report = upscaled(recording(2, 100, sounds=(sound,)))
    assert report.warnings == []


def test_late_streams_of_the_shared_folder(upscaled):
    result, report = upscaled(field_file("newaudio.ts"))
    assert (report.frames, report.warnings) == (100, [])
    assert len(result.of("audio", 1)) in (94, 95)
    assert result.of("audio", 1)[0] == pytest.approx(2.06, abs=0.03)
    result, report = upscaled(field_file("pids.ts"))
    assert (report.frames, float(report.duration)) == (150, 6)
    result, report = upscaled(field_file("noaudio.ts"), ".mp4")
    assert report.frames == 25
    assert report.warnings == ["Audio stream 1 (aac) dropped: the file declares it, but no sound of it can be found."]


def test_a_subtitle_after_the_probe_is_kept(upscaled):
    source = field_file("subs.vob")
    result, report = upscaled(source)
    assert (report.frames, report.warnings) == (110, [])
    deep = {"probesize": "100000000", "analyzeduration": "100000000"}
    assert result.payload("audio") == found(source, deep).payload("audio")
    assert len(result.of("subtitle")) == 1


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
@pytest.mark.parametrize("codec", ["wmav2", "wmav1"])
def test_several_frames_of_sound_in_a_packet(upscaled, tmp_path, suffix, codec):
    data = recording(2, format="asf", video="wmv2", sounds=(codec,))
    result, report = upscaled(data, suffix, "in.wmv")
    assert report.frames == 50
    assert result.of("audio")[-1] == pytest.approx(2, abs=0.15)
    assert max(gaps(result.of("audio"))) < 0.06


@pytest.mark.parametrize("name", ["more/wma_2s.wmv", "more/amr_sample.3gp"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_such_sound_of_the_shared_folder(upscaled, tmp_path, name, suffix):
    source = field_file(name)
    result, report = upscaled(source, suffix)
    with av.open(str(source)) as file:
        seconds = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    assert result.of("audio")[-1] == pytest.approx(seconds, abs=0.2)
    assert report.complete


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("sound", ["aac", "mp2", "ac3"])
@pytest.mark.parametrize("seed", range(2))
def test_lost_packets_of_a_broadcast(upscaled, suffix, sound, seed):
    data = recording(1, 20, sounds=(sound,))
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    lost = {(7 * seed + 5 + step) % len(packets) for step in (10, 37, 61)}
    result, report = upscaled(b"".join(p for number, p in enumerate(packets) if number not in lost), suffix)
    assert report.frames >= 15
    assert len(result.of("audio")) >= 25
    assert all(gap > 0 for gap in gaps(result.of("audio")))


@pytest.mark.parametrize("name", ["more/lost_packet_aac.ts", "more/lost_packet_mp2.ts"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_lost_packets_of_the_shared_folder(upscaled, name, suffix):
    result, report = upscaled(field_file(name), suffix)
    assert report.frames == 12
    assert len(result.of("audio")) in (23, 24)
    assert all("left out" in text or "encoded" in text for text in report.warnings)


def test_unknown_subtitles_are_dropped_for_the_true_reason(upscaled):
    _, report = upscaled(field_file("more/webvtt_in_mkv.mkv"))
    assert report.frames == 30
    assert report.warnings == ["Subtitle stream 2 (unknown) dropped: FFmpeg does not know its codec."]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("name", ["apac.mov", "gpmd.mp4"])
def test_unknown_sound_and_data_are_kept_or_named(upscaled, name, suffix):
    source = field_file(name)
    result, report = upscaled(source, suffix)
    with av.open(str(source)) as file:
        streams = len(file.streams)
    assert len(result.types) + sum("dropped" in text for text in report.warnings) == streams
    assert report.complete


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_of_two_video_streams_the_upscaled_one_is_first_and_alone_the_default(upscaled, tmp_path, suffix):
    source = tmp_path / "in.mkv"
    rich_file(source, audio=("aac",), second_video=True, subtitle=None)
    upscaled(source, suffix, source_options=SourceOptions(stream=1))
    with av.open(str(tmp_path / "results" / f"out{suffix}")) as file:
        streams = file.streams.video
        assert [stream.width for stream in streams] == [48, 64]
        assert [bool(stream.disposition & Disposition.default) for stream in streams] == [True, False]
