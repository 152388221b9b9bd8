"""Encoders: what is kept of a frame's layout, what is said when it is not, sizes, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from supertile.tests.video.media import decoded, frames, image, info, read_planes
from supertile.video.container import CONTAINERS, SUFFIXES
from supertile.video.errors import VideoError
from supertile.video.frames import Color, FrameFormat, Layout, StaticHdr
from supertile.video.write import encoders
from supertile.video.write.encoder_options import PRESETS, EncoderOptions, crf, ffmpeg_options
from supertile.video.write.encoders import choose_encoder, formats_of
from supertile.video.write.file import VideoWriter
from supertile.video.write.open import open_target

YUV420, YUV422, YUV444 = (Layout("yuv", 8, s) for s in ((1, 1), (1, 0), (0, 0)))
RGB, GRAY = Layout("rgb"), Layout("gray")


def choose(codec, container, layout, width=64, height=48, color=None, **more):
    warnings = []
    source = FrameFormat(width, height, layout, color or Color())
    chosen = choose_encoder(source, container, EncoderOptions(codec, **more), warn=warnings.append)
    return chosen, warnings


def write(path, layout, width, height, count=3, color=None, **more):
    """Write `count` frames, return the writer's layout, its planes of the first frame, and what was warned of."""
    warnings = []
    source = info(width, height, layout, color)
    sink = open_target(path, source, source.format, EncoderOptions(**more), warn=warnings.append)
    given = frames(sink.format.layout, width, height, list(range(0, 40 * count, 40)), 40 * count)
    for frame in given:
        sink.write(frame)
    sink.finish()
    return sink, given, warnings


@pytest.mark.parametrize(
    ("codec", "layout", "expected"),
    [
        ("h264", YUV420, "yuv420p"),
        ("h264", Layout("yuv", 10, (1, 1)), "yuv420p10le"),
        ("h264", Layout("yuv", 9, (1, 1)), "yuv420p10le"),
        ("h264", GRAY, "yuv420p"),
        ("hevc", Layout("gray", 12), "yuv420p12le"),
        ("vp9", Layout("yuv", 8, (2, 0)), "yuv422p"),
        ("vp9", RGB, "yuv444p"),
        ("av1", Layout("yuv", 10, (1, 1)), "yuv420p10le"),
        ("vp9", Layout("yuv", 8, (1, 1), alpha=True), "yuva420p"),
        ("vp9", YUV444, "yuv444p"),
        ("prores", YUV420, "yuv422p10le"),
        ("prores", Layout("yuv", 10, (0, 0), alpha=True), "yuva444p10le"),
        ("prores", Layout("rgb", 8, alpha=True), "yuva444p10le"),
        ("ffv1", YUV420, "yuv420p"),
        ("ffv1", Layout("yuv", 10, (1, 0)), "yuv422p10le"),
        ("ffv1", Layout("yuv", 8, (2, 2)), "yuv410p"),
        ("ffv1", GRAY, "gray"),
        ("ffv1", Layout("gray", 16), "gray16le"),
        ("ffv1", Layout("gray", alpha=True), "ya8"),
        ("ffv1", RGB, "bgr0"),
        ("ffv1", Layout("rgb", 8, alpha=True), "bgra"),
        ("ffv1", Layout("rgb", 16, alpha=True), "gbrap16le"),
        ("ffv1", Layout("rgb", 12), "gbrp12le"),
        ("ffv1", Layout("yuv", 12, (0, 0), alpha=True), "yuva444p12le"),
    ],
)
def test_what_a_frame_holds_is_kept_where_the_codec_holds_it(codec, layout, expected):
    chosen, warnings = choose(codec, "matroska", layout)
    assert chosen.pixel_format.name == expected
    assert chosen.frames.layout.alpha == layout.alpha
    assert chosen.frames.layout.model == ("yuv" if layout.model == "rgb" and codec != "ffv1" else layout.model)
    assert chosen.frames.layout.depth >= layout.depth
    assert not warnings


@pytest.mark.parametrize(
    ("codec", "container", "layout", "expected", "loss"),
    [
        ("h264", "mp4", Layout("yuv", 12, (1, 1)), "yuv420p10le", "12 bits become 10"),
        ("hevc", "mp4", Layout("yuv", 16, (1, 1)), "yuv420p12le", "16 bits become 12"),
        ("av1", "mp4", YUV444, "yuv420p", "Chroma loses resolution"),
        ("h264", "mp4", Layout("yuv", 8, (1, 1), alpha=True), "yuv420p", "Alpha dropped"),
        ("vp9", "mp4", Layout("yuv", 8, (1, 1), alpha=True), "yuv420p", "Alpha dropped"),
        ("vp9", "webm", Layout("yuv", 8, (0, 0), alpha=True), "yuva420p", "Chroma loses resolution"),
    ],
)
def test_what_is_lost_is_said(codec, container, layout, expected, loss):
    chosen, warnings = choose(codec, container, layout)
    assert chosen.pixel_format.name == expected
    assert len(warnings) == 1
    assert warnings[0].startswith(loss)
    assert expected in warnings[0]


# Until now these codecs kept the chroma of the source; hardly any player showed the result.
@pytest.mark.parametrize(
    ("codec", "layout", "expected", "keeps"),
    [
        ("h264", YUV422, "yuv420p", "yuv422p"),
        ("h264", YUV444, "yuv420p", "yuv444p"),
        ("h264", RGB, "yuv420p", "yuv444p"),
        ("h264", Layout("yuv", 8, (2, 0)), "yuv420p", "yuv422p"),
        ("h264", Layout("yuv", 10, (1, 0)), "yuv420p10le", "yuv422p10le"),
        ("hevc", YUV444, "yuv420p", "yuv444p"),
        ("hevc", Layout("yuv", 12, (0, 0)), "yuv420p12le", "yuv444p12le"),
        ("hevc", Layout("rgb", 10), "yuv420p10le", "yuv444p10le"),
    ],
)
def test_h264_and_hevc_are_420_unless_a_pixel_format_is_chosen(codec, layout, expected, keeps):
    chosen, warnings = choose(codec, "mp4", layout)
    assert chosen.pixel_format.name == expected
    assert chosen.frames.layout.model == "yuv"
    assert len(warnings) == 1
    assert warnings[0].startswith("Chroma becomes 4:2:0")
    assert f"{keeps} (--pixel-format)" in warnings[0]
    chosen, warnings = choose(codec, "mp4", layout, pixel_format=keeps)
    assert (chosen.pixel_format.name, warnings) == (keeps, [])


@pytest.mark.parametrize(
    ("layout", "codec"),
    [(Layout("yuv", bits, (1, 1)), "auto") for bits in (8, 10)]
    + [(layout, "ffv1") for layout in (GRAY, RGB, Layout("gray", 10), Layout("rgb", 16, alpha=True), YUV422,
                                       Layout("rgb", 8, alpha=True), Layout("gray", alpha=True),
                                       Layout("gray", 12, alpha=True), Layout("yuv", 12, (1, 0), alpha=True))],
)  # fmt: skip
def test_samples_arrive_in_the_places_they_are_meant_for(tmp_path, layout, codec):
    """Each plane of a lossless file, and nearly those of a lossy one, is the plane that was given."""
    sink, given, _ = write(tmp_path / "out.mkv", layout, 66, 50, codec=codec, quality=100)
    result = decoded(tmp_path / "out.mkv")[1]
    planes = _planes_in_our_order(result)
    if layout.model == "gray" and len(planes) > layout.planes:  # a gray image with the chroma of gray
        assert all((plane == 1 << (layout.depth - 1)).all() for plane in planes[1:3])
        planes[1:3] = []
    assert len(planes) == sink.format.layout.planes
    tolerance = 0 if codec == "ffv1" else 2 ** (layout.depth - 6)
    for expected, plane in zip(given[1].planes, planes, strict=True):
        assert np.abs(plane.astype(int) - expected.numpy().astype(int)).max() <= tolerance


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".webm", "vp9"), (".mkv", "vp9"), (".mov", "prores"), (".mkv", "prores")]
)
def test_alpha_arrives(tmp_path, suffix, codec):
    path = tmp_path / f"out{suffix}"
    layout = Layout("yuv", 8, (1, 1), alpha=True) if codec == "vp9" else Layout("yuv", 10, (0, 0), alpha=True)
    _, given, warnings = write(path, layout, 66, 50, codec=codec, quality=95)
    assert not warnings
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        if codec == "vp9":  # FFmpeg's own decoder passes over the alpha
            assert stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        result = [f for packet in container.demux(stream) for f in decoder.decode(packet if packet.size else None)]
    assert len(result) == 3
    alpha = read_planes(result[1])[3].astype(float)
    scale = 2 ** (result[1].format.components[3].bits - layout.depth)
    assert np.abs(alpha / scale - given[1].planes[3].numpy()).max() <= 2 ** (layout.depth - 6)


def _planes_in_our_order(frame):
    name = frame.format.name
    if name in ("bgr0", "bgra", "ya8"):
        count = len(name) if name != "ya8" else 2
        packed = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(frame.height, -1)
        packed = packed[:, : frame.width * count].reshape(frame.height, frame.width, count)
        return [packed[..., i] for i in {"bgr0": (2, 1, 0), "bgra": (2, 1, 0, 3), "ya8": (0, 1)}[name]]
    planes = read_planes(frame)
    if name.startswith("gbr"):
        planes[:3] = [planes[2], planes[0], planes[1]]
    return planes


def test_rgb_that_becomes_yuv_gets_a_matrix_and_the_tags_of_srgb():
    chosen, _ = choose("h264", "mp4", RGB, color=Color(matrix=0, full_range=True))
    assert chosen.frames.layout == YUV420
    assert (chosen.frames.color.matrix, chosen.frames.color.full_range, chosen.frames.color.transfer) == (1, False, 13)
    kept, _ = choose("ffv1", "matroska", RGB, color=Color(matrix=0, full_range=True))
    assert (kept.frames.color.matrix, kept.frames.color.full_range) == (0, True)


@pytest.mark.parametrize(("codec", "siting"), [("h264", "center"), ("av1", "left"), ("vp9", "left"), ("ffv1", "left")])
def test_the_siting_is_one_that_the_stream_can_tell(codec, siting):
    chosen, _ = choose(codec, "matroska", YUV420, color=Color(siting="center"))
    assert chosen.frames.color.siting == siting


def test_rgb_in_h264_is_written_when_asked_for(tmp_path):
    sink, _, _ = write(tmp_path / "rgb.mkv", RGB, 64, 48, codec="h264", pixel_format="rgb24")
    assert sink.format.layout == RGB
    assert decoded(tmp_path / "rgb.mkv")[0].format.name == "gbrp"


@pytest.mark.parametrize("size", [(65, 49), (64, 49), (65, 48), (1, 1), (3, 2), (2, 2), (16, 16)])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "prores", "ffv1"])
def test_a_frame_of_any_size_has_that_size_when_it_is_decoded(tmp_path, codec, size):
    path = tmp_path / "out.mkv"
    smallest = {"hevc": 16, "av1": 4}.get(codec, 1)
    if min(size) < smallest:
        with pytest.raises(VideoError, match=f"at least {smallest}x{smallest} pixels, not {size[0]}x{size[1]}"):
            write(path, YUV420, *size, codec=codec)
        assert list(tmp_path.iterdir()) == []
        return
    _, _, warnings = write(path, YUV420, *size, codec=codec)
    result = decoded(path)
    assert [(frame.width, frame.height) for frame in result] == [size] * 3
    odd = bool(size[0] % 2 or size[1] % 2)
    assert bool(warnings) == (odd and codec in ("h264", "hevc"))
    if warnings:
        assert ("4:2:2" if size[0] % 2 == 0 else "4:4:4") in warnings[0]


def test_gray_of_odd_size_needs_no_chroma(tmp_path):
    sink, given, warnings = write(tmp_path / "gray.mkv", GRAY, 65, 49, codec="h264", quality=100)
    assert sink.format.layout == GRAY
    assert not warnings
    luma = read_planes(decoded(tmp_path / "gray.mkv")[0])[0].astype(int)
    assert np.abs(luma - given[0].planes[0].numpy()).max() <= 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codec": "h265"}, "h264, hevc, av1"),
        ({"codec": "prores"}, "cannot hold prores"),
        ({"quality": 0}, "1 to 100"),
        ({"quality": 101}, "1 to 100"),
        ({"preset": "placebo"}, "ultrafast"),
        ({"pixel_format": "yuv420p12le"}, "yuv420p10le"),
        ({"pixel_format": "rgb565"}, "Choose auto, yuv420p"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(tmp_path, arguments, message):
    with pytest.raises(VideoError, match=message):
        write(tmp_path / "new" / "out.mp4", YUV420, 64, 48, **arguments)
    assert not (tmp_path / "new").exists()


def test_webm_takes_no_h264_and_says_what_it_takes(tmp_path):
    with pytest.raises(VideoError, match=r"\.webm files cannot hold h264\. Choose one of vp9, av1, or write to \.mp4"):
        write(tmp_path / "out.webm", YUV420, 64, 48, codec="h264")


def test_a_pixel_format_that_needs_even_sizes_is_refused_at_odd_ones(tmp_path):
    with pytest.raises(VideoError, match="odd size 65x49"):
        write(tmp_path / "out.mp4", YUV420, 65, 49, pixel_format="yuv420p")


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "h264"), ("mov", "h264"), ("matroska", "h264"), ("webm", "vp9")]
)
def test_auto_is_what_most_players_know(container, codec):
    assert choose("auto", container, YUV420)[0].codec == codec


def test_ten_bits_in_webm_stay_ten_bits():
    chosen, warnings = choose("auto", "webm", Layout("yuv", 10, (1, 1)))
    assert chosen.frames.layout.depth == 10
    assert not warnings


def test_every_codec_of_every_container_can_be_written(tmp_path):
    for container, names in CONTAINERS.items():
        for codec in names:
            path = tmp_path / f"{codec}{SUFFIXES[container]}"
            write(path, YUV420, 64, 48, codec=codec)
            assert len(decoded(path)) == 3, (container, codec)


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "av1_nvenc"])
def test_a_hardware_encoder_that_cannot_be_opened_falls_back(monkeypatch, codec):
    monkeypatch.setattr(encoders, "why_not_available", lambda encoder: "no such device")
    chosen, warnings = choose(codec, "mp4", YUV420)
    assert chosen.encoder == {"h264_nvenc": "libx264", "hevc_nvenc": "libx265", "av1_nvenc": "libsvtav1"}[codec]
    assert warnings == [f"{codec} cannot be opened (no such device). {chosen.encoder} is used instead."]


def options_known_to(encoder):
    known = getattr(av.CodecContext.create(encoder, "w"), "supported_options", None)
    if known is None:
        pytest.skip("this PyAV does not tell an encoder's options")
    return {option.name for option in [*known.generic, *known.private]}


def test_a_hardware_encoder_that_can_be_opened_is_taken(monkeypatch):
    monkeypatch.setattr(encoders, "why_not_available", lambda encoder: None)
    eight, _ = choose("hevc_nvenc", "mp4", YUV420, 640, 480)
    ten, _ = choose("hevc_nvenc", "mp4", Layout("yuv", 10, (1, 1)), 640, 480)
    assert (eight.encoder, eight.pixel_format.name) == ("hevc_nvenc", "yuv420p")
    assert (ten.pixel_format.name, ten.pixel_format.shift, ten.frames.layout.depth) == ("p010le", 6, 10)
    assert set(eight.options) <= options_known_to("hevc_nvenc")


def test_p010_interleaves_chroma_and_moves_codes_up():
    layout = Layout("yuv", 10, (1, 1))
    planes = image(layout, 34, 18)
    from supertile.video.write.planes import FORMATS, fill_frame

    frame = fill_frame(FORMATS["p010le"], FrameFormat(34, 18, layout, Color()), planes)
    luma, chroma = (np.frombuffer(memoryview(p), "<u2").reshape(-1, p.line_size // 2) for p in frame.planes)
    assert (luma[:18, :34] >> 6 == planes[0].numpy()).all()
    assert (chroma[:9, 0:34:2] >> 6 == planes[1].numpy()).all()
    assert (chroma[:9, 1:34:2] >> 6 == planes[2].numpy()).all()


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "nvenc"])
def test_higher_quality_is_a_lower_quantizer(encoder):
    values = [crf(encoder, quality) for quality in range(1, 101)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 100


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "prores"])
def test_quality_is_one_scale(tmp_path, codec):
    """Higher is nearer to the source and larger; the default is hardly told from it, 100 not at all."""
    errors, sizes = [], []
    for quality in (20, EncoderOptions.quality, 100):
        path = tmp_path / f"{quality}.mkv"
        layout = Layout("yuv", 10, (1, 0)) if codec == "prores" else YUV420
        _, given, _ = write(path, layout, 160, 96, codec=codec, quality=quality)
        top = 2 ** (10 if codec == "prores" else 8) - 1
        planes = read_planes(decoded(path)[1])
        errors.append(np.mean((planes[0] / top - given[1].planes[0].numpy() / top) ** 2))
        sizes.append(path.stat().st_size)
    assert errors == sorted(errors, reverse=True)
    assert sizes == sorted(sizes)
    assert -10 * np.log10(errors[1]) > 42  # dB
    assert -10 * np.log10(errors[2]) > 48


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
@pytest.mark.parametrize("preset", [PRESETS[0], PRESETS[4], PRESETS[-1]])
@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160), (7680, 4320), (15360, 8640)])
def test_options_are_known_to_the_encoder(codec, preset, size):
    encoder = encoders.SOFTWARE[codec]
    hdr = StaticHdr(content_light=(1000, 400))
    source = FrameFormat(*size, YUV420, Color(siting="topleft"))
    options = ffmpeg_options(encoder, source, hdr, EncoderOptions(preset=preset))
    assert set(options) <= options_known_to(encoder)


@pytest.mark.parametrize(
    ("codec", "key", "values"),
    [
        ("h264", "x264-params", (None, "rc-lookahead=20", "rc-lookahead=10")),
        ("hevc", "x265-params", (None, "rc-lookahead=15", "rc-lookahead=10")),
        ("av1", "svtav1-params", (None, "lookahead=16", "lookahead=8")),
        ("vp9", "lag-in-frames", ("25", "20", "10")),
    ],
)
def test_the_look_ahead_is_shorter_where_frames_are_large(codec, key, values):
    for size, value in zip([(1920, 1080), (3840, 2160), (7680, 4320)], values, strict=True):
        options = choose(codec, "matroska", YUV420, *size)[0].options
        assert "lookahead" not in options.get(key, "") if value is None else value in options[key]


def test_encoders_leave_no_option_unread(tmp_path):
    for codec in ("h264", "hevc", "av1", "vp9", "prores", "ffv1"):
        source = info()
        encoding, _ = choose(codec, "matroska", YUV420, color=Color(siting="topleft"))
        path = tmp_path / f"{codec}.mkv"
        writer = VideoWriter(path, source, encoding)
        assert not writer._stream.codec_context.options, codec
        writer.discard()


def test_formats_are_those_of_this_build():
    for encoder in ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "ffv1", "hevc_nvenc"):
        names = {format.name for format in av.codec.Codec(encoder, "w").video_formats}
        assert formats_of(encoder)
        assert set(formats_of(encoder)) - {"rgb24"} <= names


def test_time_base_and_rate_of_any_kind_can_be_encoded(tmp_path):
    bases = [Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 1_000_000), Fraction(1, 1000)]
    for codec in ("h264", "hevc", "av1", "vp9", "ffv1"):
        for base in bases:
            path = tmp_path / "out.mp4"
            for rate in (Fraction(30000, 1001), Fraction(1000), Fraction(1, 5)):
                source = info(time_base=base, rate=rate)
                sink = open_target(
                    path, source, source.format, EncoderOptions(codec, preset="ultrafast"), overwrite=True
                )
                step = max(1, round(1 / rate / base))
                for frame in frames(sink.format.layout, 64, 48, [0, step, 2 * step], 3 * step):
                    sink.write(frame)
                sink.finish()
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                times = [frame.pts * stream.time_base for frame in container.decode(stream)]
            assert times == [n * step * base for n in range(3)], (codec, base)
