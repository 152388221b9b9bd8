"""Small H.264 files in place of videos that a browser cannot play, and small pictures of frames of planes."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from supertile.inference.upscaler import Upscaler
from supertile.video.color.yuv import from_rgb
from supertile.video.frames import Color, Frame, FrameFormat, Layout
from supertile.video.parts.job import JobOptions
from supertile.video.preview import SIDE, write_picture, write_preview
from supertile.video.thumbnail import thumbnail
from supertile.video.upscale import upscale_video


def video(path, codec: str, pix_fmt: str, frames: int, width: int = 64, height: int = 48, rate: int = 25):
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for index in range(frames):
            image = np.full((height, width, 3), (200, 3 * index, 90), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode(None))
    return path


def decoded(path) -> tuple[list[np.ndarray], list[Fraction]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        frames = list(container.decode(stream))
        return [each.to_ndarray(format="rgb24") for each in frames], [each.pts * each.time_base for each in frames]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [("ffv1", "yuv444p10le", "a.mkv"), ("prores_ks", "yuv422p10le", "a.mov"), ("libx265", "yuv420p10le", "a.mp4")],
)
def test_what_no_browser_plays_becomes_h264(tmp_path, codec, pix_fmt, name):
    source = video(tmp_path / name, codec, pix_fmt, 12)
    assert write_preview(source, tmp_path / "small.mp4")
    frames, times = decoded(tmp_path / "small.mp4")
    assert len(frames) == 12
    assert times == [Fraction(index, 25) for index in range(12)]
    for index, frame in enumerate(frames):
        assert np.abs(frame.mean((0, 1)) - (200, 3 * index, 90)).max() < 6
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "small.mp4"])


def test_it_is_small_and_short(tmp_path):
    source = video(tmp_path / "a.mkv", "ffv1", "yuv420p", 40, width=2 * SIDE, height=102, rate=10)
    assert write_preview(source, tmp_path / "small.mp4", seconds=2)
    frames, times = decoded(tmp_path / "small.mp4")
    assert frames[0].shape == (52, SIDE, 3)  # even sides
    assert len(frames) == 20
    assert times[-1] < 2


def test_one_frame_is_enough_where_time_is_short(tmp_path):
    source = video(tmp_path / "a.mkv", "ffv1", "yuv420p", 30)
    assert write_preview(source, tmp_path / "small.mp4", patience=0)
    assert len(decoded(tmp_path / "small.mp4")[0]) == 1


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_nothing_is_left_of_what_cannot_be_decoded(tmp_path, content):
    (tmp_path / "a.mkv").write_bytes(content)
    assert not write_preview(tmp_path / "a.mkv", tmp_path / "small.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


def test_a_picture_becomes_a_video_of_one_frame(tmp_path):
    picture = torch.zeros(31, 45, 3, dtype=torch.uint8)
    picture[..., 1] = 180
    assert write_picture(picture, tmp_path / "a.mp4")
    (frame,), _ = decoded(tmp_path / "a.mp4")
    assert frame.shape == (32, 44, 3)
    assert np.abs(frame.mean((0, 1)) - (0, 180, 0)).max() < 6


@pytest.mark.parametrize(
    "layout",
    [Layout("yuv", 8, (1, 1)), Layout("yuv", 10, (1, 0)), Layout("yuv", 12), Layout("rgb", 8), Layout("gray", 16),
     Layout("yuv", 8, (1, 1), alpha=True)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("side", [7, 40, 4000])
def test_a_thumbnail_has_the_pixels_of_the_frame(layout, side):
    """Of a frame whose color changes slowly, every pixel is near the one at its place."""
    height, width = 45, 77
    y, x = torch.meshgrid(torch.linspace(0.1, 0.9, height), torch.linspace(0.1, 0.9, width), indexing="ij")
    rgb = torch.stack([x, y, (x + y) / 2])[: 1 if layout.model == "gray" else 3]
    form = FrameFormat(width, height, layout, Color())
    planes = from_rgb(rgb, torch.ones(1, height, width) if layout.alpha else None, layout, form.color)
    small = thumbnail(Frame(planes, 0, 1), form, side)
    step = max(1, -(-width // side))
    assert max(small.shape[1:]) <= side
    assert small.shape == rgb[:, ::step, ::step].shape
    assert (small - rgb[:, ::step, ::step]).abs().max() < 0.03


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_video_is_upright(make_video, tmp_path, turns):
    """As players show it: its small copy has no matrix of its own."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 255  # the upper left quarter
    path = make_video("a.mov", [[picture.reshape(32, -1)]], "rgb24", "libx264rgb", size=(64, 32), display_matrix=matrix)
    assert write_preview(path, tmp_path / "small.mp4")
    small = decoded(tmp_path / "small.mp4")[0][0]
    expected = np.rot90(picture, -turns)
    assert small.shape == expected.shape
    assert np.abs(small.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("part_seconds", [0, 1])
def test_the_progress_of_a_job_shows_its_latest_frame(tmp_path, enlarger, part_seconds):
    """In one piece and in parts."""
    source = video(tmp_path / "a.mkv", "libx264", "yuv420p", 75)
    seen = []

    def progress(now):
        picture = now.thumbnail(32)
        assert picture.shape == (3, 24, 32)
        seen.append((now.frames, round(float(picture[1].mean()) * 255)))

    upscaler = Upscaler(enlarger(2), device="cpu", precision="fp32")
    job = JobOptions(part_seconds=part_seconds)
    upscale_video(source, tmp_path / "b.mkv", upscaler, job=job, progress=progress)
    assert [frames for frames, _ in seen] == list(range(1, 76))
    for frames, green in seen:
        assert abs(green - 3 * (frames - 1)) < 8
