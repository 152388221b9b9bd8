"""Everything beside the image: what is in the new file, to the bit and to the tick, and what is said of the rest."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from supertile.tests.video.media import (
    ASS_HEADER,
    COVER,
    FONT,
    SUBTITLES,
    click_track,
    frames,
    info,
    onsets,
    packets_of,
    rich_file,
)
from supertile.video.frames import Span
from supertile.video.read.shared_file import views
from supertile.video.remux.copier import StreamCopier
from supertile.video.remux.tags import global_tags, stream_tags
from supertile.video.write.open import open_target

CONTAINERS = [".mkv", ".mp4", ".mov", ".webm"]
TITLES = {"Image", "Main", "Commentaire", "Signs"}


def upscaled(source, target, *, first=0, count=25, base=None, index=0, metadata=None, **more):
    """`upscale_video` keeps the other streams of a file, and warns of what it cannot keep."""
    with av.open(str(source)) as container:
        stream = container.streams[index]
        base = Fraction(stream.time_base)
        step = Fraction(1, 25) / base
    pts = [round((first + number) * step) for number in range(count)]
    image = info(64, 48, time_base=base, stream_index=index, sample_aspect_ratio=Fraction(16, 15))
    warnings = []
    sink = open_target(
        target, image, replace(image.format, width=128, height=96), copy_from=source,
        warn=warnings.append, metadata=metadata, **more,
    )  # fmt: skip
    for frame in frames(sink.format.layout, 128, 96, pts, round((first + count) * step)):
        sink.write(frame)
    sink.finish()
    return warnings


def streams_of(path):
    """type -> [(codec, language, title, disposition)]"""
    result = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            name = stream.codec_context.codec.canonical_name if stream.codec_context else stream.name
            tags = stream_tags(stream.metadata)
            entry = (name, tags.get("language"), tags.get("title"), int(stream.disposition))
            result.setdefault(stream.type, []).append(entry)
    return result


def payloads(path, kind):
    """Of each stream of a kind, the payloads of its packets."""
    with av.open(str(path)) as container:
        indices = [stream.index for stream in container.streams if stream.type == kind]
    packets = packets_of(path)
    return [[data for _, data in packets.get(index, [])] for index in indices]


def starts(path):
    """Of each stream with time, the seconds at which its first packet is shown."""
    with av.open(str(path)) as container:
        kinds = {stream.index: stream.type for stream in container.streams}
    return {
        (kinds[index], index): min(time for time, _ in packets if time is not None)
        for index, packets in packets_of(path).items()
        if kinds[index] in ("video", "audio")
    }


@pytest.mark.parametrize("container", CONTAINERS[:3])
@pytest.mark.parametrize("source", [".mkv", ".mp4", ".mov"])
def test_sound_is_copied_to_the_bit_and_stays_where_it_was(tmp_path, source, container):
    original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
    rich_file(original, audio=("aac", "libopus") if source == ".mkv" and container != ".mov" else ("aac", "aac"))
    warnings = upscaled(original, result)
    assert warnings == []
    assert payloads(result, "audio") == payloads(original, "audio")
    tick = Fraction(1, 1000)
    before, after = starts(original), starts(result)
    assert list(before) == list(after)
    for stream, time in before.items():
        assert abs(after[stream] - time) <= tick
    assert onsets(result) == pytest.approx(onsets(original), abs=0.0011)
    assert [s[1:3] for s in streams_of(result)["audio"]] == [("eng", "Main"), ("fra", "Commentaire")]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("source", [".mkv", ".mp4", ".mov"])
def test_tags_chapters_languages_titles_and_shape(tmp_path, source, container):
    original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
    rich_file(original)
    upscaled(original, result, metadata={"comment": "upscaled"})
    with av.open(str(result)) as file:
        tags = {key.lower(): value for key, value in global_tags(file.metadata).items()}
        assert tags == {"title": "Rich", "artist": "Me", "mykey": "my value", "comment": "upscaled"}
        chapters = [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in file.chapters()]
        assert chapters == [
            (0, Fraction(1, 2), {"title": "One"}),
            (Fraction(1, 2), 1, {"title": "Two"}),
        ]
        assert file.streams.video[0].sample_aspect_ratio == pytest.approx(Fraction(16, 15), abs=0.01)
        order = [stream.type for stream in file.streams if stream.type != "data"]
    assert order == ["video", "audio", "audio", "subtitle"]
    assert {s[2] for kind in ("video", "audio", "subtitle") for s in streams_of(result)[kind]} == TITLES
    if container in (".mkv", ".webm") and source == ".mkv":
        # MP4 knows of no other disposition than the default one, WebM of no "comment".
        assert [s[3] for s in streams_of(result)["audio"]] == [1, 8 * (container == ".mkv")]
        assert streams_of(result)["subtitle"][0][3] == 64


@pytest.mark.parametrize(
    ("source", "container", "codec"),
    [
        (source, container, {".mkv": "subrip", ".webm": "webvtt"}.get(container, "mov_text"))
        for source in (".mkv", ".mp4")
        for container in CONTAINERS
    ],
)
def test_text_is_kept_in_the_words_of_the_container(tmp_path, source, container, codec):
    original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
    rich_file(original)
    warnings = upscaled(original, result)
    assert not [warning for warning in warnings if "ubtitle" in warning]
    assert streams_of(result)["subtitle"][0][:3] == (codec, "ger" if container == ".mov" else "deu", "Signs")
    assert spoken(result) == [(start, end, text) for start, end, text in SUBTITLES]
    if (source, container) in ((".mkv", ".mkv"), (".mp4", ".mp4"), (".mp4", ".mov")):
        assert payloads(result, "subtitle") == payloads(original, "subtitle")


def spoken(path):
    """(ms, ms, text) of each subtitle that says something, in <i> when it is in italics."""
    result = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            events = stream.codec_context.decode2(packet) if packet.size else None
            texts = [event.ass.decode().split(",", 8)[8] for event in events or () if event.ass]
            styled = "".join(texts)
            text = re.sub(r"\{.*?\}|</?i>", "", styled)
            if text:
                text = f"<i>{text}</i>" if r"\i1" in styled or "<i>" in styled else text
                start = packet.pts * packet.time_base * 1000
                result.append((round(start), round(start + packet.duration * packet.time_base * 1000), text))
    return result


def test_styled_text_is_kept_in_mkv_with_its_fonts(tmp_path):
    original, result = tmp_path / "in.mkv", tmp_path / "out.mkv"
    rich_file(original, subtitle="ass", font=True)
    assert upscaled(original, result) == []
    assert payloads(result, "subtitle") == payloads(original, "subtitle")
    with av.open(str(result)) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "application/x-truetype-font", FONT)
        assert container.streams.subtitles[0].codec_context.subtitle_header is None
        container.streams.subtitles[0].codec_context.open()
        assert b"Style: Default,Arial,16" in container.streams.subtitles[0].codec_context.subtitle_header
        assert b"Arial" in ASS_HEADER


@pytest.mark.parametrize("container", [".mp4", ".mov", ".webm"])
def test_styling_and_fonts_that_are_lost_are_named(tmp_path, container):
    original, result = tmp_path / "in.mkv", tmp_path / f"out{container}"
    rich_file(original, subtitle="ass", font=True, audio=("libopus",) if container == ".webm" else ("aac",))
    kind = "WebVTT" if container == ".webm" else "timed text (mov_text)"
    assert upscaled(original, result) == [
        f"Subtitle stream 2 (ass, deu, 'Signs') is converted to {kind} and loses its styling, because {container} "
        "cannot hold ass.",
        f"Attachment stream 3 (application/x-truetype-font, 'font.ttf') dropped: {container} cannot hold attachments.",
    ]
    assert [text for _, _, text in spoken(result)] == ["Hello", "<i>World</i>"] or [
        text for _, _, text in spoken(result)
    ] == ["Hello", "World"]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("source", [".mkv", ".mp4"])
def test_a_cover_stays_a_cover(tmp_path, source, container):
    original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
    rich_file(original, cover=True, audio=(), subtitle=None)
    warnings = upscaled(original, result)
    with av.open(str(result)) as file:
        covers = [s for s in file.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        if container in (".mov", ".webm"):
            assert not covers
            assert len(warnings) == 1
            assert warnings[0].startswith("Cover image ")
            assert warnings[0].endswith(f"dropped: {container} cannot hold such a cover image.")
            return
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(covers[0])]
    assert len(images) == 1
    assert (images[0] == COVER).all()
    custom = source == ".mkv" and container == ".mp4"
    assert [warning.split(" dropped")[0].lower() for warning in warnings] == (["tags mykey"] if custom else [])


@pytest.mark.parametrize("source", [".mkv", ".mp4"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_other_video_streams_lose_no_packet(tmp_path, source, container):
    """Matroska gives no decoding time for the first packets of a stream with B-frames."""
    original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
    rich_file(original, second_video=True, audio=(), subtitle=None, chapters=False)
    with av.open(str(original)) as file:
        none = [p.dts is None for p in file.demux(video=1) if p.size]
    assert any(none) == (source == ".mkv")
    warnings = upscaled(original, result)
    if container == ".webm":
        assert warnings == ["Video stream 1 (h264, eng, 'Angle 2') dropped: .webm cannot hold it."]
        return
    assert warnings == []
    with av.open(str(original)) as a, av.open(str(result)) as b:
        expected = [(f.pts * f.time_base, f.to_ndarray()) for f in a.decode(video=1)]
        got = [(f.pts * f.time_base, f.to_ndarray()) for f in b.decode(video=1)]
    assert [time for time, _ in got] == [time for time, _ in expected]
    assert all((x == y).all() for (_, x), (_, y) in zip(expected, got, strict=True))


def test_another_stream_can_be_the_one_that_is_upscaled(tmp_path):
    original, result = tmp_path / "in.mkv", tmp_path / "out.mkv"
    rich_file(original, second_video=True)
    upscaled(original, result, index=1)
    with av.open(str(result)) as file:
        assert [(s.width, s.metadata["title"]) for s in file.streams.video] == [(128, "Angle 2"), (64, "Image")]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("audio", "video"), [(0.1, 0), (0.0, 5), (0.5, 2)])
def test_offsets_between_video_and_audio_are_kept(tmp_path, container, audio, video):
    for source in (".mkv", ".mp4"):
        original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
        rich_file(original, audio=("aac",), audio_offset=audio, video_offset=video, subtitle=None)
        upscaled(original, result, first=video, overwrite=True)
        before, after = onsets(original), onsets(result)
        with av.open(str(result)) as file:
            shown = [frame.pts * frame.time_base for frame in file.decode(video=0)]
        assert float(shown[0]) == pytest.approx(video / 25, abs=0.00051)
        assert after == pytest.approx(before, abs=0.0011)


@pytest.mark.parametrize(
    ("container", "codec", "becomes"),
    [(".mov", "flac", "alac"), (".mp4", "pcm_u8", "flac"), (".mkv", "pcm_alaw", "flac"),
     (".mov", "pcm_u8", "pcm_u8"), (".mp4", "flac", "flac"), (".mp4", "pcm_s16le", "pcm_s16le")],
)  # fmt: skip
def test_sound_without_loss_stays_without_loss(tmp_path, container, codec, becomes):
    original, result = tmp_path / ("in.mov" if codec.startswith("pcm_") else "in.mkv"), tmp_path / f"out{container}"
    rich_file(original, audio=(codec,), subtitle=None)
    warnings = upscaled(original, result)
    assert streams_of(result)["audio"][0][0] == becomes
    assert len(warnings) == (codec != becomes)
    before, after = (_samples(path) for path in (original, result))
    assert before.shape == after.shape
    assert (before == after).all()


def _samples(path):
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s32p")
        frames = [r for frame in container.decode(audio=0) for r in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


@pytest.mark.parametrize(
    ("source", "layout", "rate"),
    [("aac", "mono", 44100), ("aac", "stereo", 48000), ("aac", "5.1", 48000), ("flac", "7.1", 48000),
     ("flac", "quad", 32000), ("flac", "2.1", 96000), ("ac3", "5.1(side)", 48000), ("mp2", "stereo", 44100)],
)  # fmt: skip
def test_sound_that_webm_cannot_hold_becomes_opus_in_place(tmp_path, source, layout, rate):
    original, result = tmp_path / "in.mkv", tmp_path / "out.webm"
    rich_file(original, audio=(source,), layout=layout, rate=rate, subtitle=None)
    (warning,) = upscaled(original, result)
    assert warning == (
        f"Audio stream 1 ({source}, eng, 'Main') is encoded to Opus with a small loss, because .webm cannot hold "
        f"{source}."
    )
    with av.open(str(original)) as a, av.open(str(result)) as b:
        assert len(b.streams.audio[0].layout.channels) == len(a.streams.audio[0].layout.channels)
    assert onsets(result) == pytest.approx(onsets(original), abs=0.002)


@pytest.mark.parametrize(("codec", "layout"), [("mp2", "stereo"), ("libopus", "5.1"), ("libopus", "7.1")])
def test_sound_that_mov_cannot_hold_becomes_aac_in_place(tmp_path, codec, layout):
    original, result = tmp_path / "in.mkv", tmp_path / "out.mov"
    rich_file(original, audio=(codec,), layout=layout, subtitle=None)
    warnings = upscaled(original, result)
    assert onsets(result) == pytest.approx(onsets(original), abs=0.002)
    name = streams_of(result)["audio"][0][0]
    assert (name == "aac") == bool(warnings)
    assert name in ("aac", "mp2")


def test_channels_without_loss_or_not_at_all(tmp_path):
    """ALAC has another order of eight channels: mixing them is no copy, so AAC says what it is."""
    original, result = tmp_path / "in.mkv", tmp_path / "out.mov"
    rich_file(original, audio=("flac",), layout="7.1", subtitle=None)
    assert upscaled(original, result) == [
        "Audio stream 1 (flac, eng, 'Main') is encoded to AAC with a small loss, because .mov cannot hold flac."
    ]
    rich_file(original, audio=("flac",), layout="5.1", subtitle=None)
    (warning,) = upscaled(original, result, overwrite=True)
    assert "is converted to ALAC without loss" in warning
    assert (_samples(original) == _samples(result)).all()


@pytest.mark.parametrize("container", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    ("source", "codec"),
    [(".avi", "libmp3lame"), (".ts", "aac"), (".flv", "aac"), (".nut", "pcm_f32le"), (".mkv", "alac"), (".mpg", "mp2")],
)
def test_sound_from_containers_with_other_clocks(tmp_path, container, source, codec):
    """Ticks of 24 ms in AVI, times without durations, layouts that are only numbers of channels, ADTS headers."""
    original, result = tmp_path / f"in{source}", tmp_path / f"out{container}"
    with av.open(str(original), "w", format="mpeg" if source == ".mpg" else None) as output:
        stream = output.add_stream(
            "mpeg4" if source == ".avi" else "mpeg2video" if source == ".mpg" else "libx264", rate=25
        )
        stream.width, stream.height = 64, 48
        sound = output.add_stream(codec, rate=48000)
        sound.layout = "stereo"
        packets = []
        for number in range(25):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        samples = np.ascontiguousarray(click_track(1, 48000, 2, [0.2, 0.6]).T)
        for start in range(0, 48000, 960):
            block = av.AudioFrame.from_ndarray(samples[start : start + 960].reshape(1, -1), "flt", "stereo")
            block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
            packets += sound.encode(av.AudioResampler(format=sound.format.name).resample(block)[0])
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    with av.open(str(original)) as file:
        index = file.streams.video[0].index
        first = file.streams.video[0].start_time * file.streams.video[0].time_base * 25
    assert upscaled(original, result, index=index, first=first) == []
    assert onsets(result) == pytest.approx(onsets(original), abs=0.0011)
    before, after = b"".join(payloads(original, "audio")[0]), b"".join(payloads(result, "audio")[0])
    assert after == before or (source == ".ts" and len(after) < len(before))


def test_a_gap_in_the_sound_stays_a_gap_when_it_is_encoded(tmp_path):
    original, damaged, result = tmp_path / "in.mkv", tmp_path / "gap.mkv", tmp_path / "out.webm"
    rich_file(original, audio=("aac",), subtitle=None, video=50, clicks=[0.2, 1.7])
    with av.open(str(original)) as a, av.open(str(damaged), "w") as b:
        copies = {s.index: b.add_stream_from_template(s, opaque=True) for s in a.streams}
        for packet in a.demux():
            if packet.size and not (packet.stream.type == "audio" and 700 < packet.pts < 1300):
                packet.stream = copies[packet.stream_index]
                b.mux(packet)
    upscaled(damaged, result, count=50)
    assert onsets(result) == pytest.approx([0.202, 1.702], abs=0.003)


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_interval_is_cut_out_of_everything(tmp_path, container):
    original, result = tmp_path / "in.mkv", tmp_path / f"out{container}"
    rich_file(original, video=75, audio=("aac",), clicks=[0.2, 1.3, 2.7])
    start, end = Fraction(1, 5), Fraction(8, 5)  # "Hello" is heard from 0.1 to 0.4, "World" from 0.6 to 0.9
    upscaled(original, result, first=5, count=35, span=Span(start, end))
    with av.open(str(result)) as file:
        shown = [frame.pts * frame.time_base for frame in file.decode(video=0)]
        chapters = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in file.chapters()]
    assert (shown[0], len(shown)) == (0, 35)
    assert chapters == [(0, Fraction(3, 10)), (Fraction(3, 10), Fraction(4, 5))]
    assert spoken(result) == [(0, 200, "Hello"), (400, 700, "<i>World</i>")]
    heard = onsets(result)
    assert heard[-1] == pytest.approx(1.102, abs=0.003)
    times = [time for index, packets in packets_of(result).items() for time, _ in packets]
    assert min(times) >= -Fraction(1, 40)
    assert max(times) < end - start


def test_a_file_object_is_read_by_two_at_once(tmp_path):
    original, result = tmp_path / "in.mkv", tmp_path / "out.mkv"
    rich_file(original, audio=("aac",), subtitle=None)
    one, two = views(io.BytesIO(original.read_bytes()))
    with av.open(one) as container:
        packets = container.demux()
        for _ in range(10):
            next(packets)
        image = info(time_base=Fraction(1, 1000), stream_index=0)
        sink = open_target(result, image, image.format, copy_from=two)
        for frame in frames(sink.format.layout, 64, 48, list(range(0, 1000, 40)), 1000):
            next(packets, None)
            sink.write(frame)
        sink.finish()
        rest = sum(1 for packet in packets if packet.size)
    assert rest > 0
    assert payloads(result, "audio") == payloads(original, "audio")


def test_packets_are_read_only_as_far_as_the_video_is(tmp_path):
    original = tmp_path / "in.mkv"
    rich_file(original, audio=("aac",), subtitle=None, video=100)
    copier = StreamCopier(original, 0, "matroska")
    output = av.open(str(tmp_path / "out.mkv"), "w")
    copier.add_streams(output, lambda: output.add_stream("ffv1", rate=25))
    for time in (Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(3, 2)):
        packets = list(copier.packets_until(time))
        assert all(packet.dts * packet.time_base <= time for packet in packets)
    assert len(copier._ahead) <= 2
    rest = list(copier.packets_until(None))
    assert rest[0].dts * rest[0].time_base > Fraction(3, 2)
    assert list(copier.packets_until(None)) == []
    copier.close()
    output.close()


def test_interleaving_is_close(tmp_path):
    """At no place in the file is one stream more than a second ahead of another."""
    original = tmp_path / "in.mkv"
    rich_file(original, audio=("aac", "aac"), video=150)
    for container in (".mkv", ".mp4"):
        result = tmp_path / f"out{container}"
        upscaled(original, result, count=150)
        with av.open(str(result)) as file:
            packets = [p for p in file.demux() if p.size and p.stream.type in ("audio", "video") and p.pos is not None]
        latest = {}
        for packet in sorted(packets, key=lambda packet: packet.pos):
            latest[packet.stream_index] = float((packet.dts or packet.pts) * packet.time_base)
            if len(latest) == 3:
                assert max(latest.values()) - min(latest.values()) < 1.2


def test_a_stream_nobody_knows_is_dropped_by_name(tmp_path):
    original, result = tmp_path / "in.ts", tmp_path / "out.mkv"
    with av.open(str(original), "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        data = output.add_data_stream("klv")
        for number in range(25):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
            packet = av.Packet(bytes(range(16)))
            packet.pts = packet.dts = number * 3600
            packet.time_base, packet.stream = Fraction(1, 90000), data
            output.mux(packet)
        output.mux(stream.encode(None))
    (warning,) = upscaled(original, result)
    assert warning.startswith("Data stream 1 (klv)")
    assert "dropped: .mkv cannot hold it." in warning
    with av.open(str(result)) as file:
        assert [s.type for s in file.streams] == ["video"]


def test_audio_that_lasts_longer_than_the_video_is_kept(tmp_path):
    original, result = tmp_path / "in.mkv", tmp_path / "out.mkv"
    rich_file(original, audio=("aac",), subtitle=None, video=50)
    upscaled(original, result, count=10)
    assert payloads(result, "audio") == payloads(original, "audio")


@pytest.mark.parametrize("container", [".mov", ".mp4", ".mkv"])
def test_a_timecode_is_kept_as_the_container_has_it(tmp_path, container):
    original, result = tmp_path / "in.mov", tmp_path / f"out{container}"
    with av.open(str(original), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        stream.metadata["timecode"] = "01:02:03:04"
        for number in range(25):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with av.open(str(original)) as file:
        assert [stream.type for stream in file.streams] == ["video", "data"]
    assert upscaled(original, result) == []
    with av.open(str(result)) as file:
        tags = {key.lower(): value for key, value in file.streams.video[0].metadata.items()}
        assert tags["timecode"] == "01:02:03:04"
        assert len(file.streams) == (1 if container == ".mkv" else 2)
