"""A file through the whole of it, with networks whose result is known: samples, times, streams, faults."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from supertile import Cancelled, EncoderOptions, SourceOptions, Span, Upscaler, VideoError, upscale_video
from supertile.images.size import SizeError
from supertile.tests.video.conftest import from_frame, random_planes, smooth_planes
from supertile.tests.video.media import VFR, VFR_END, rich_file
from supertile.video.remux.wav import aac_file

X264 = {"crf": "16", "preset": "ultrafast"}


@pytest.fixture
def identity(enlarger) -> Upscaler:
    return Upscaler(enlarger(1), precision="fp32")


@pytest.fixture
def double(enlarger) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), precision="fp32")


def decoded(path):
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, from_frame(frame)) for frame in container.decode(video=0)]


def same_planes(before, after, tolerance=0):
    assert len(before) == len(after)
    for (_, old), (_, new) in zip(before, after, strict=True):
        for a, b in zip(old, new, strict=True):
            assert a.shape == b.shape
            assert int(np.abs(a.astype(int) - b.astype(int)).max()) <= tolerance


def image_file(make_video, name="in.mkv", count=5, size=(64, 48), **options):
    width, height = size
    return make_video(name, [smooth_planes("yuv420p", width, height, i) for i in range(count)], **options)


# --- samples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
def test_a_network_that_changes_nothing_changes_no_sample_of_8_bits(make_video, identity, tmp_path, matrix, pix_fmt):
    # Noise over all codes: blacker than black, whiter than white, and colors that no RGB has.
    frames = [random_planes(pix_fmt, 50, 34, 1), smooth_planes(pix_fmt, 50, 34, 2), random_planes(pix_fmt, 50, 34, 3)]
    tags = {"colorspace": matrix, "color_range": 1}
    source = make_video("in.mkv", frames, pix_fmt, "libx264", options=X264, tags=tags)
    upscale_video(source, tmp_path / "out.mkv", identity, encoder=EncoderOptions(codec="ffv1"))
    same_planes(decoded(source), decoded(tmp_path / "out.mkv"))


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("full", [False, True])
def test_more_bits_stay_within_one_code(make_video, identity, tmp_path, pix_fmt, full):
    frames = [random_planes(pix_fmt, 50, 34, i) for i in range(2)]
    source = make_video("in.mkv", frames, pix_fmt, tags={"colorspace": 9, "color_range": 1 + full})
    upscale_video(source, tmp_path / "out.mkv", identity, encoder=EncoderOptions(codec="ffv1"))
    same_planes(decoded(source), decoded(tmp_path / "out.mkv"), tolerance=1)


@pytest.mark.parametrize(("pix_fmt", "white", "black"), [("yuv420p", 235, 16), ("yuv420p10le", 940, 64)])
def test_white_stays_white_and_black_black(make_video, double, tmp_path, pix_fmt, white, black):
    neutral = [np.full_like(plane, white * 128 // 235) for plane in random_planes(pix_fmt, 32, 32)]
    neutral = [plane // plane.max() * (512 if white > 255 else 128) for plane in neutral]
    frames = [[np.full_like(neutral[0], luma), *neutral[1:]] for luma in (white, black)]
    source = make_video("in.mkv", frames, pix_fmt, tags={"colorspace": 1, "color_range": 1})
    upscale_video(source, tmp_path / "out.mkv", double, encoder=EncoderOptions(codec="ffv1"))
    (_, light), (_, dark) = decoded(tmp_path / "out.mkv")
    assert light[0].shape == (64, 64)
    assert (light[0] == white).all()
    assert (dark[0] == black).all()


@pytest.mark.parametrize("size", [None, "1.5x"])
@pytest.mark.parametrize("luma", [3, 250])
def test_what_is_blacker_than_black_or_whiter_than_white_goes_around_the_network(
    make_video, double, tmp_path, luma, size
):
    planes = [np.full((32, 32), luma, np.uint8), *(np.full((16, 16), 128, np.uint8) for _ in range(2))]
    source = make_video("in.mkv", [planes], tags={"colorspace": 1, "color_range": 1})
    upscale_video(source, tmp_path / "out.mkv", double, encoder=EncoderOptions(codec="ffv1"), size=size)
    ((_, larger),) = decoded(tmp_path / "out.mkv")
    assert (larger[0] == luma).all()
    assert (larger[1] == 128).all()


def test_transparency_is_enlarged_beside_the_color_also_where_it_only_varies_now_and_then(make_video, double, tmp_path):
    opaque, varied = random_planes("gbrap10le", 16, 12, 1), random_planes("gbrap10le", 16, 12, 2)
    for planes in (opaque, varied):
        planes[3][:] = 1023
    varied[3][:, 8:] = 0
    source = make_video("in.mkv", [opaque, varied, opaque], "gbrap10le")
    upscale_video(source, tmp_path / "out.mkv", double, encoder=EncoderOptions(codec="ffv1"))
    results = [planes for _, planes in decoded(tmp_path / "out.mkv")]
    for before, after in zip([opaque, varied, opaque], results, strict=True):
        seen = before[3].repeat(2, 0).repeat(2, 1)
        assert (after[3] == seen).all()
        for plane in range(3):
            same = after[plane] == before[plane].repeat(2, 0).repeat(2, 1)
            assert same[seen > 0].all()


def test_gray_stays_gray(make_video, double, tmp_path):
    planes = random_planes("gray", 16, 12)
    source = make_video("in.mkv", [planes], "gray", tags={"color_range": 2})
    upscale_video(source, tmp_path / "out.mkv", double, encoder=EncoderOptions(codec="ffv1"))
    with av.open(str(tmp_path / "out.mkv")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "gray"
    assert (from_frame(frame)[0] == planes[0].repeat(2, 0).repeat(2, 1)).all()


# --- size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"), [(None, (128, 96)), ("3x", (192, 144)), ("1.5x", (96, 72)), ("stretch:100x80", (100, 80))]
)
def test_the_size_is_the_one_asked_for(make_video, double, tmp_path, size, expected):
    source = image_file(make_video, count=2)
    report = upscale_video(source, tmp_path / "out.mkv", double, encoder=EncoderOptions(codec="ffv1"), size=size)
    assert report.target_size == expected
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == expected


def test_a_size_that_means_nothing_is_refused_before_anything_is_written(make_video, double, tmp_path):
    source = image_file(make_video)
    with pytest.raises(SizeError):
        upscale_video(source, tmp_path / "out" / "out.mkv", double, size="huge")
    assert not (tmp_path / "out").exists()


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "webm"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_irregular_times_and_all_frames_come_through(make_video, identity, tmp_path, suffix, b_frames):
    frames = [smooth_planes("yuv420p", 64, 48, i) for i in range(len(VFR))]
    source = make_video(
        "in.mkv", frames, "yuv420p", "libx264", pts=VFR, time_base=Fraction(1, 1000),
        options={**X264, "bf": str(b_frames), "preset": "medium"}, last_duration=VFR_END - VFR[-1],
    )  # fmt: skip
    before = [time for time, _ in decoded(source)]
    assert before == [Fraction(ms, 1000) for ms in VFR]
    target = tmp_path / f"out.{suffix}"
    report = upscale_video(source, target, identity)
    assert [time for time, _ in decoded(target)] == before
    assert report.frames == len(VFR)
    with av.open(str(target)) as container:
        assert abs(container.duration - 1000 * VFR_END) <= 1000  # microseconds: a tick of Matroska
    assert report.duration == Fraction(VFR_END, 1000)


@pytest.mark.parametrize("options", [{"g": "1"}, {"g": "5", "bf": "2"}, {"g": "250", "bf": "4", "refs": "4"}])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_no_frame_is_lost_whatever_the_gop(make_video, identity, tmp_path, codec, options):
    if codec == "mpeg4":
        options = {name: value for name, value in options.items() if name != "refs"}
    if codec == "libx265":
        options = {"x265-params": f"keyint={options['g']}:bframes={options.get('bf', 0)}:log-level=none"}
    source = image_file(make_video, "in.mkv", count=23, codec=codec, options=options)
    report = upscale_video(source, tmp_path / "out.mkv", identity, encoder=EncoderOptions(preset="ultrafast"))
    assert report.frames == 23
    assert [t for t, _ in decoded(tmp_path / "out.mkv")] == [t for t, _ in decoded(source)]


def test_a_part_is_cut_out_by_time(make_video, identity, tmp_path):
    source = image_file(make_video, count=50, codec="libx264", options={**X264, "g": "12"})
    upscale_video(
        source, tmp_path / "out.mkv", identity, encoder=EncoderOptions(codec="ffv1"), span=Span(0.5, Fraction(3, 2))
    )
    cut, whole = decoded(tmp_path / "out.mkv"), decoded(source)
    wanted = [(t, planes) for t, planes in whole if Fraction(1, 2) <= t < Fraction(3, 2)]
    same_planes(wanted, cut)
    steps = [b[0] - a[0] for a, b in pairwise(cut)]
    assert all(abs(step - Fraction(1, 25)) <= Fraction(1, 1000) for step in steps)
    assert cut[0][0] < Fraction(1, 25)


# --- a real file -------------------------------------------------------------------------------------------------


def packets(path, index):
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(container.streams[index]) if p.size]


def test_a_real_file_keeps_its_frames_times_and_sound(nasa, identity, tmp_path):
    target = tmp_path / "out.mp4"
    report = upscale_video(nasa, target, identity, encoder=EncoderOptions(preset="ultrafast"))
    with av.open(str(nasa)) as before, av.open(str(target)) as after:
        best = before.streams.best("video").index
        kinds = [(s.type, s.codec_context.name if s.codec_context else None) for s in before.streams]
        assert sorted(s.type for s in after.streams) == sorted(kind for kind, _ in kinds)
        sound = [(a.index, b.index) for a, b in zip(before.streams.audio, after.streams.audio, strict=True)]
        times = [frame.pts * frame.time_base for frame in before.decode(before.streams[best])]
        assert times == [frame.pts * frame.time_base for frame in after.decode(video=0)]
    assert report.frames == len(times)
    assert report.complete
    for index, copied in sound:
        before, after = packets(nasa, index), packets(target, copied)
        assert [data for _, data in before] == [data for _, data in after]
        tick = Fraction(1, 44100)
        assert all(abs(a - b) <= tick for (a, _), (b, _) in zip(before, after, strict=True))


# --- static tiles ------------------------------------------------------------------------------------------------


def test_what_stands_still_is_computed_once_with_the_same_result(make_video, enlarger, tmp_path):
    moving = [np.tile(np.arange(128, dtype=np.uint8), (96, 1)), *(np.full((48, 64), 128, np.uint8) for _ in range(2))]
    frames = []
    for i in range(6):
        planes = [plane.copy() for plane in moving]
        planes[0][:16, :16] = 40 * i if i < 3 else 80  # one corner moves, then all stands still
        frames.append(planes)
    source = make_video("in.mkv", frames)
    upscaler = Upscaler(enlarger(2), precision="fp32", tile=64, overlap=8)
    report = upscale_video(source, tmp_path / "reused.mkv", upscaler, encoder=EncoderOptions(codec="ffv1"))
    plain = upscale_video(
        source, tmp_path / "plain.mkv", upscaler, encoder=EncoderOptions(codec="ffv1"), reuse_static=False
    )
    assert plain.tiles_reused == 0
    assert report.tiles_computed + report.tiles_reused == plain.tiles_computed
    tiles = plain.tiles_computed // 6
    assert report.tiles_computed == tiles + 2  # the first frame, and the corner twice
    assert "static" in report.summary()
    same_planes(decoded(tmp_path / "plain.mkv"), decoded(tmp_path / "reused.mkv"))


# --- other sources and targets -----------------------------------------------------------------------------------


def test_a_binary_file_is_a_source_with_its_sound(nasa, identity, tmp_path):
    with open(nasa, "rb") as file:
        report = upscale_video(
            file, tmp_path / "out.mkv", identity, encoder=EncoderOptions(preset="ultrafast"), span=Span(end=1)
        )
    assert report.frames == 30
    assert packets(tmp_path / "out.mkv", 1)


def test_another_stream_can_be_chosen(nasa, identity, tmp_path):
    """That file has two, both marked as default; the larger one is not the first."""
    sizes = []
    for stream in (None, "first", 0, 1):
        report = upscale_video(
            nasa,
            tmp_path / "out.mkv",
            identity,
            source_options=SourceOptions(stream=stream),
            span=Span(end=0.2),
            overwrite=True,
        )
        sizes.append(report.source_size)
    assert sizes == [(480, 270), (320, 180), (320, 180), (480, 270)]
    with pytest.raises(VideoError, match=r"has no video stream 2\. Streams are numbered from 0 to 1"):
        upscale_video(nasa, tmp_path / "none.mkv", identity, source_options=SourceOptions(stream=2))


def test_frames_from_memory_and_numbered_images_and_back(double, tmp_path):
    frames = [np.random.default_rng(i).integers(0, 256, (12, 16, 3), dtype=np.uint8) for i in range(4)]
    pattern = tmp_path / "frames" / "%03d.png"
    report = upscale_video(iter(frames), pattern, double, source_options=SourceOptions(frame_rate=24))
    assert report.frames == 4
    upscale_video(
        pattern,
        tmp_path / "out.mkv",
        double,
        encoder=EncoderOptions(codec="ffv1"),
        source_options=SourceOptions(frame_rate=Fraction(24000, 1001)),
    )
    with av.open(str(tmp_path / "out.mkv")) as container:
        results = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for before, after in zip(frames, results, strict=True):
        assert (before.repeat(4, 0).repeat(4, 1) == after).all()


# --- faults ------------------------------------------------------------------------------------------------------


def nothing_left(folder, *but):
    return sorted(p.name for p in folder.iterdir()) == sorted(but)


def test_sound_from_memory_goes_along_with_frames_from_memory(double, tmp_path):
    second = torch.linspace(0, 440 * 2 * torch.pi, 48000)
    sound = aac_file(0.5 * torch.stack([second.sin(), second.cos()]), 48000)
    frames = [torch.rand(3, 32, 32) for _ in range(12)]
    upscale_video(
        frames,
        tmp_path / "out.mp4",
        double,
        source_options=SourceOptions(frame_rate=24),
        span=Span(end=0.5),
        streams_from=sound,
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == 12
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "aac"
        assert stream.duration * stream.time_base == pytest.approx(0.5, abs=0.03)


def test_a_video_has_streams_of_its_own(make_video, double, tmp_path):
    source = image_file(make_video)
    with pytest.raises(ValueError, match="has streams"):
        upscale_video(source, tmp_path / "out.mp4", double, streams_from=source)


@pytest.mark.parametrize(("size", "stored"), [("stretch:96x256", (256, 96)), ("x128", (128, 96)), ("2x", (128, 96))])
def test_sizes_are_those_of_the_video_as_it_is_displayed(double, tmp_path, size, stored):
    rich_file(tmp_path / "turned.mkv")  # stored as 64x48, shown upright
    upscale_video(tmp_path / "turned.mkv", tmp_path / "out.mp4", double, size=size)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == stored


@pytest.mark.parametrize(("depth", "expected"), [(None, "yuv420p"), (8, "yuv420p"), (10, "yuv420p10le")])
def test_the_depth_can_be_chosen(make_video, double, tmp_path, depth, expected):
    report = upscale_video(
        image_file(make_video), tmp_path / "out.mp4", double, encoder=EncoderOptions(bit_depth=depth)
    )
    assert report.pixel_format == expected


def test_a_target_that_exists_is_refused_and_kept(make_video, identity, tmp_path):
    source, target = image_file(make_video), tmp_path / "out.mkv"
    target.write_bytes(b"dear")
    with pytest.raises(VideoError, match="exists already"):
        upscale_video(source, target, identity)
    assert target.read_bytes() == b"dear"
    upscale_video(source, target, identity, overwrite=True)
    assert len(decoded(target)) == 5


@pytest.mark.parametrize("how", ["itself", "symbolic link", "hard link"])
def test_the_source_is_never_the_target(make_video, identity, tmp_path, how):
    source = image_file(make_video)
    content = source.read_bytes()
    target = source if how == "itself" else tmp_path / "link.mkv"
    if how == "symbolic link":
        target.symlink_to(source)
    elif how == "hard link":
        target.hardlink_to(source)
    with pytest.raises(VideoError, match="source"):
        upscale_video(source, target, identity, overwrite=True)
    assert source.read_bytes() == content


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cancelling_leaves_nothing_and_ends_all_threads(make_video, identity, tmp_path, suffix):
    source = image_file(make_video, count=30)
    asked = []

    def cancelled():
        asked.append(True)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        upscale_video(source, tmp_path / f"out.{suffix}", identity, cancelled=cancelled)
    assert nothing_left(tmp_path, source.name)
    assert not [t for t in threading.enumerate() if t.name.startswith("supertile-")]
    assert upscale_video(source, tmp_path / "again.mkv", identity).frames == 30  # the upscaler is still good


def test_what_progress_raises_goes_through_and_leaves_nothing(make_video, identity, tmp_path):
    class Interrupted(Exception):
        pass

    def progress(state):
        assert state.expected == 30
        if state.frames == 5:
            raise Interrupted

    source = image_file(make_video, count=30)
    with pytest.raises(Interrupted):
        upscale_video(source, tmp_path / "out.mkv", identity, progress=progress)
    assert nothing_left(tmp_path, source.name)


def test_an_upscaler_that_fails_ends_the_job(make_video, enlarger, tmp_path):
    count = []

    def broken(batch):
        count.append(len(batch))
        if len(count) > 3:
            raise RuntimeError("the network broke")

    source = image_file(make_video, count=30)
    with pytest.raises(RuntimeError, match="the network broke"):
        upscale_video(source, tmp_path / "out.mkv", Upscaler(enlarger(1, broken), precision="fp32"))
    assert nothing_left(tmp_path, source.name)


def test_memory_that_runs_out_costs_no_frame(make_video, enlarger, tmp_path):
    def limited(batch):
        if batch.shape[0] * batch.shape[2] * batch.shape[3] > 40 * 40:
            raise torch.OutOfMemoryError("as CUDA says it")

    source = image_file(make_video, count=7, size=(96, 64))
    upscaler = Upscaler(enlarger(2, limited), precision="fp32", tile=96, overlap=4, batch=4)
    reference = Upscaler(enlarger(2), precision="fp32")
    upscale_video(source, tmp_path / "small.mkv", upscaler, encoder=EncoderOptions(codec="ffv1"))
    upscale_video(source, tmp_path / "large.mkv", reference, encoder=EncoderOptions(codec="ffv1"))
    # One code: where tiles overlap, the mean of two equal numbers may round the other way.
    same_planes(decoded(tmp_path / "large.mkv"), decoded(tmp_path / "small.mkv"), tolerance=1)


def test_a_truncated_source_gives_what_is_there_and_says_what_is_missing(make_video, identity, tmp_path):
    source = image_file(make_video, "in.mp4", count=60, codec="libx264", options={**X264, "g": "10"},
                          container_options={"movflags": "faststart"})  # fmt: skip
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    warnings = []
    report = upscale_video(source, tmp_path / "out.mkv", identity, warn=warnings.append)
    assert 0 < report.frames < 60
    assert not report.complete
    assert report.read.missing_at_end > 0
    assert any("ends early" in sentence for sentence in warnings)
    assert report.warnings == warnings
    assert len(decoded(tmp_path / "out.mkv")) == report.frames


def test_damage_in_the_middle_is_gone_past(make_video, identity, tmp_path):
    source = image_file(make_video, "in.mp4", count=60, codec="libx264", options={**X264, "g": "10"})
    content = bytearray(source.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    content[len(content) // 2 : len(content) // 2 + 400] = noise
    source.write_bytes(content)
    report = upscale_video(source, tmp_path / "out.mkv", identity, warn=lambda sentence: None)
    assert report.frames > 30
    assert len(decoded(tmp_path / "out.mkv")) == report.frames
    assert not report.complete
    assert report.warnings


def test_a_source_without_video_is_refused(make_video, identity, tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"sound\.mkv contains no video"):
        upscale_video(path, tmp_path / "out.mkv", identity)


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 50, bytes(range(256)) * 8])
def test_what_is_no_video_is_refused(identity, tmp_path, content):
    path = tmp_path / "in.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"in\.mp4"):
        upscale_video(path, tmp_path / "out.mkv", identity)
    assert nothing_left(tmp_path, path.name)
