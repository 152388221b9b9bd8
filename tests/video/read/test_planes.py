"""Planes come out of a file to the bit, whatever the pixel format."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from supertile.tests.video.media import read, same
from supertile.video.frames import Layout
from supertile.video.read.planes import pixel_format, planes_of


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


def test_pyav_reads_what_the_tests_wrote(make_video: Callable, noise: Callable, planes_of: Callable) -> None:
    """The helpers of these tests, against PyAV alone."""
    planes = noise("yuv422p10le", 34, 22)
    with av.open(str(make_video("in.mkv", [planes], "yuv422p10le"))) as container:
        (frame,) = container.decode(video=0)
    assert all(np.array_equal(a, b) for a, b in zip(planes_of(frame), planes, strict=True))
