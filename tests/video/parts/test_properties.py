"""Whatever a file in one piece says of itself, one that was joined of parts says too."""

from __future__ import annotations

import resource
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from supertile.video.errors import VideoError
from supertile.video.parts.folder import JobFolder
from supertile.video.parts.job import JobOptions
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions

from .conftest import HEIGHT, RATE, WIDTH, digest

TWO_SECONDS, ONE_PIECE = JobOptions(part_seconds=2), JobOptions(part_seconds=0)
MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


@pytest.fixture(scope="module")
def rich_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rotated HDR10 video with oblong pixels, subtitles, an attachment, chapters and tags."""
    path = tmp_path_factory.mktemp("rich") / "rich.mkv"
    noise = np.random.default_rng(5).integers(0, 255, (HEIGHT + 60, WIDTH + 60), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        options = {"x265-params": f"log-level=none:keyint=25:open-gop=1:hdr10=1:repeat-headers=1:{MASTERING}"}
        video = container.add_stream("libx265", rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p10le"
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        context.sample_aspect_ratio = Fraction(4, 3)
        video.set_display_rotation(90)
        subtitles = container.add_mux_stream("subrip")
        subtitles.time_base = Fraction(1, 1000)
        subtitles.metadata["language"] = "nld"
        container.add_attachment("font.ttf", "application/x-truetype-font", bytes(100))
        ticks = {"time_base": Fraction(1, 1000)}
        container.set_chapters([
            {"id": 0, "start": 0, "end": 3000, "metadata": {"title": "one"}} | ticks,
            {"id": 1, "start": 3000, "end": 7000, "metadata": {"title": "two"}} | ticks,
        ])  # fmt: skip
        container.metadata["title"] = "Film"
        for number in range(7 * RATE):
            image = noise[number % 50 : number % 50 + HEIGHT, number % 30 : number % 30 + WIDTH]
            frame = av.VideoFrame.from_ndarray(image.copy(), format="gray").reformat(format="yuv420p10le")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
            if number % RATE == 0:
                packet = av.Packet(f"line {number}".encode())
                packet.stream, packet.time_base = subtitles, Fraction(1, 1000)
                packet.pts = packet.dts = number * 40
                packet.duration = 500
                container.mux(packet)
        container.mux(video.encode(None))
    return path


def properties(path: Path) -> dict[str, Any]:
    """Return all that a file says of itself and its streams."""
    with av.open(str(path)) as container:
        tags = dict(container.metadata) | {"encoder": ""}
        streams = []
        for stream in container.streams:
            context = stream.codec_context
            names = ("name", "codec_tag", "extradata", "profile", "width", "height", "pix_fmt", "sample_aspect_ratio")
            colors = ("color_primaries", "color_trc", "colorspace", "color_range")
            values = [getattr(context, name, None) for name in (*names, *colors)]
            streams.append((stream.type, stream.disposition, stream.time_base, dict(stream.metadata), values))
        chapters = container.chapters()
        first = next(container.decode(video=0))  # H.264 repeats metadata with every key frame
        side_data = {data.type.name: bytes(data) for data in first.side_data if "SEI" not in data.type.name}
    return {"tags": tags, "streams": streams, "chapters": chapters, "rotation": first.rotation, "side data": side_data}


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "hevc"), (".mkv", "hevc"), (".mkv", "ffv1"), (".mov", "prores"), (".webm", "auto"), (".mp4", "h264")],
)
def test_properties_survive_the_join(upscaler, tmp_path, rich_source, suffix, codec):
    for name, job in (("whole", ONE_PIECE), ("parts", TWO_SECONDS)):
        upscale_video(rich_source, tmp_path / f"{name}{suffix}", upscaler, encoder=EncoderOptions(codec), job=job)
    found, expected = properties(tmp_path / f"parts{suffix}"), properties(tmp_path / f"whole{suffix}")
    for key, value in expected.items():
        assert found[key] == value
    found, expected = digest(tmp_path / f"parts{suffix}"), digest(tmp_path / f"whole{suffix}")
    assert found.get("subtitle") == expected.get("subtitle")
    assert [pts for pts, _ in found["frames"]] == [pts for pts, _ in expected["frames"]]


def test_a_full_disk_at_the_join_leaves_the_parts(clip, upscaler, tmp_path):
    target, encoder = tmp_path / "film.mkv", EncoderOptions("ffv1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(VideoError, match="larger than the system allows"):
            upscale_video(clip("h264"), target, upscaler, encoder=encoder, job=TWO_SECONDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    [job] = JobFolder.find(target)
    assert len(list(job.done())) == len(job.parts)
    assert upscale_video(clip("h264"), target, upscaler, encoder=encoder, job=TWO_SECONDS).resumed_frames == 200
