"""Results of a video job play everywhere, and no encoder harms the process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from supertile import EncoderOptions, Upscaler, upscale_video
from supertile.nodes.video_input import video_input
from supertile.tests.video.conftest import smooth_planes, write_video

# Encodes noise of every given size and preset; prints each before it starts, so that the last line names the culprit.
_ENCODE = """
import sys
from fractions import Fraction
import numpy as np, torch
from supertile.video.frames import Color, Frame, FrameFormat, Layout, VideoInfo
from supertile.video.write.encoder_options import EncoderOptions
from supertile.video.write.open import open_target

folder, depth, preset, *sizes = sys.argv[1:]
generator = np.random.default_rng(0)
for size in sizes:
    print(size, flush=True)
    width, height = map(int, size.split("x"))
    layout = Layout("yuv", int(depth), (1, 1))
    info = VideoInfo("noise", width, height, layout, Color(), Fraction(1, 25), Fraction(25))
    sink = open_target(f"{folder}/{size}.mkv", info, info.format, EncoderOptions("hevc", preset=preset))
    for number in range(5):
        planes = [generator.integers(0, 2 ** int(depth), layout.size_of(i, width, height)) for i in range(3)]
        dtype = np.uint8 if depth == "8" else np.uint16
        sink.write(Frame(tuple(torch.from_numpy(plane.astype(dtype)) for plane in planes), number, 1))
    sink.finish()
print("done")
"""
_SMALL = [f"{width}x{height}" for width in (16, 32, 34, 48, 50, 64) for height in (16, 66)]


@pytest.mark.parametrize(("depth", "preset"), [(10, "medium"), (8, "ultrafast")])
def test_small_hevc_frames_leave_the_heap_intact(tmp_path: Path, depth: int, preset: str) -> None:
    # glibc's checking allocator notices each byte that is written beyond a block.
    environment = dict(os.environ, LD_PRELOAD="libc_malloc_debug.so.0", MALLOC_CHECK_="3")
    done = subprocess.run(
        [sys.executable, "-c", _ENCODE, str(tmp_path), str(depth), preset, *_SMALL],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-30:] + done.stderr[-300:]
    assert done.stdout.endswith("done\n")


@pytest.fixture
def double(enlarger: Callable[..., Any]) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), precision="fp32")


def written(path: Path) -> tuple[int, int, str]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.width, frame.height, frame.format.name


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(
    ("source", "size", "expected"),
    [
        ((66, 42), "1.5x", (100, 64, "yuv420p")),  # 99x63
        ((66, 42), "x127", (200, 128, "yuv420p")),  # 200x127
        ((66, 42), "301x", (302, 192, "yuv420p")),  # 301x192
        ((64, 48), "0.0147mp", (140, 106, "yuv420p")),  # 140x105
        ((66, 42), "stretch:99x63", (99, 63, "yuv444p")),
        ((66, 42), "stretch:100x63", (100, 63, "yuv422p")),
    ],
)
def test_sizes_that_follow_are_even_and_exact_ones_exact(
    tmp_path: Path, double: Upscaler, codec: str, source: tuple[int, int], size: str, expected: tuple[int, int, str]
) -> None:
    path = write_video(tmp_path / "in.mkv", [smooth_planes("yuv420p", *source)] * 2, codec="libx264")
    report = upscale_video(path, tmp_path / "out.mp4", double, size=size, encoder=EncoderOptions(codec))
    assert written(tmp_path / "out.mp4") == expected
    assert report.target_size == expected[:2]
    assert bool([w for w in report.warnings if "Many players" in w]) == (expected[2] != "yuv420p")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1) or size.startswith("stretch:")


def test_codecs_that_hold_odd_sizes_keep_them(tmp_path: Path, double: Upscaler) -> None:
    path = write_video(tmp_path / "in.mkv", [smooth_planes("yuv420p", 66, 42)] * 2, codec="libx264")
    upscale_video(path, tmp_path / "out.mkv", double, size="1.5x", encoder=EncoderOptions("ffv1"))
    assert written(tmp_path / "out.mkv") == (99, 63, "yuv420p")


@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [("out.mp4", "auto", "yuv420p"), ("out.mkv", "hevc", "yuv420p"), ("lossless.mkv", "ffv1", "bgra")],
)
def test_a_gif_plays(tmp_path: Path, double: Upscaler, name: str, codec: str, format: str) -> None:
    frames = [Image.fromarray(np.full((21, 33, 3), (40 * i, 200, 90), np.uint8)) for i in range(4)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=100)
    upscale_video(tmp_path / "in.gif", tmp_path / name, double, encoder=EncoderOptions(codec))
    assert written(tmp_path / name) == (66, 42, format)
    with av.open(str(tmp_path / name)) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24").reshape(-1, 3).mean(0)
    assert np.abs(shown - (0, 200, 90)).max() < 4


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuv422p10le"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_chroma_of_h264_and_hevc_becomes_420_unless_it_is_kept_by_name(
    tmp_path: Path, double: Upscaler, pix_fmt: str, codec: str
) -> None:
    path = write_video(tmp_path / "in.mkv", [smooth_planes(pix_fmt, 64, 48)] * 2, pix_fmt)
    report = upscale_video(path, tmp_path / "out.mp4", double, encoder=EncoderOptions(codec))
    assert written(tmp_path / "out.mp4") == (128, 96, pix_fmt.replace("422", "420").replace("444", "420"))
    assert [pix_fmt in warning for warning in report.warnings] == [True]
    report = upscale_video(path, tmp_path / "kept.mp4", double, encoder=EncoderOptions(codec, pixel_format=pix_fmt))
    assert (written(tmp_path / "kept.mp4"), report.warnings) == ((128, 96, pix_fmt), [])
    report = upscale_video(path, tmp_path / "out.mkv", double, encoder=EncoderOptions("ffv1"))
    assert (written(tmp_path / "out.mkv"), report.warnings) == ((128, 96, pix_fmt), [])
    report = upscale_video(path, tmp_path / "odd.mp4", double, size="stretch:99x63", encoder=EncoderOptions(codec))
    assert written(tmp_path / "odd.mp4") == (99, 63, pix_fmt.replace("422", "444"))
    assert ["for them choose 100x64" in warning for warning in report.warnings] == [True]


def two_videos(path: Path, default: int) -> None:
    """A file with two video streams; the second is larger."""
    with av.open(str(path), "w") as output:
        streams: list[Any] = []
        for number in range(2):
            stream: Any = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64 + 32 * number, 48, "yuv420p"
            stream.disposition = int(number == default)
            streams.append(stream)
        for stream in streams:
            for _ in range(3):
                output.mux(stream.encode(av.VideoFrame(stream.width, stream.height, "yuv420p")))
            output.mux(stream.encode(None))


@pytest.mark.parametrize("default", [0, 1])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_upscaled_stream_is_first_and_alone_the_default(
    tmp_path: Path, double: Upscaler, default: int, suffix: str
) -> None:
    two_videos(tmp_path / f"in{suffix}", default)
    report = upscale_video(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", double)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        first, second = container.streams.video
        assert (first.width, second.width) == (2 * (64 + 32 * default), 96 - 32 * default)
        assert (first.disposition & 1, second.disposition & 1) == (1, 0)
    assert f"video stream {default} of 0 to 1 was upscaled" in report.summary()


class ConnectedVideo:
    """A VIDEO of ComfyUI that was loaded from a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_stream_source(self) -> str:
        return str(self._path)


@pytest.mark.parametrize(("default", "by_node", "by_others"), [(0, 0, 0), (1, 1, 1), (None, 0, 1)])
def test_the_node_takes_the_default_stream_else_the_first(
    tmp_path: Path, double: Upscaler, default: int | None, by_node: int, by_others: int
) -> None:
    """Without a default, the core's nodes take the first, and everything else here the largest."""
    two_videos(tmp_path / "in.mkv", -1 if default is None else default)
    source = video_input(ConnectedVideo(tmp_path / "in.mkv"), object, lossless_sound=False)
    report = upscale_video(
        source.source, tmp_path / "node.mkv", double, span=source.span, source_options=source.options
    )
    direct = upscale_video(tmp_path / "in.mkv", tmp_path / "direct.mkv", double)
    assert report.video_streams == (by_node, 2)
    assert direct.video_streams == (by_others, 2)
    assert source.info().width == report.source_size[0]
