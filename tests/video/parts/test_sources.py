"""Parts of unusual sources, each computed by itself from a seek, hold exactly the frames of one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from supertile.inference.pool import Event
from supertile.video.errors import VideoError
from supertile.video.frames import Span
from supertile.video.parts.folder import JobFolder
from supertile.video.parts.job import JobOptions
from supertile.video.parts.publish import join_partial
from supertile.video.read.file import VideoReader
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions

from .conftest import HEIGHT, RATE, WIDTH, digest, pts_of, write_clip

TWO_SECONDS, ONE_PIECE = JobOptions(part_seconds=2), JobOptions(part_seconds=0)
LOSSLESS = EncoderOptions(codec="ffv1")


class InlinePool:
    """A pool of one device that computes each part by itself, in this process."""

    devices = ("cpu",)

    def __init__(self, upscaler) -> None:
        self.upscaler = upscaler
        self.tasks = 0

    def check_devices(self, *_: Any, **__: Any) -> None:
        """Nothing to compare with one device."""

    def run(self, work, tasks, *, cancelled=lambda: False) -> Iterator[Event]:
        for task in tasks:
            self.tasks += 1
            yield Event("finished", task, "cpu", work(self.upscaler, task, lambda _: None, cancelled))


def encode(path: Path, codec: str, options: dict[str, str], *, interlaced: bool = False, **attributes: Any) -> Path:
    """Write 8 s of moving noise; `attributes` are set on the encoder."""
    noise = np.random.default_rng(5).integers(0, 255, (HEIGHT + 60, WIDTH + 60), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE, options=dict(options))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, attributes.pop("pix_fmt", "yuv420p")
        for name, value in attributes.items():
            setattr(video.codec_context, name, value)
        for number in range(8 * RATE):
            image = noise[number % 50 : number % 50 + HEIGHT, number % 30 : number % 30 + WIDTH].copy()
            if interlaced:
                image[1::2] = np.roll(image[1::2], 3, axis=1)
            frame = av.VideoFrame.from_ndarray(image, format="gray").reformat(format=video.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def remuxed(source: Path, path: Path, change: Callable[[av.Packet], av.Packet | None], **options: Any) -> Path:
    """Copy the video packets of a file; `change` may alter them, and drops those for which it returns None."""
    with av.open(str(source)) as container, av.open(str(path), "w", **options) as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.size and (changed := change(packet)) is not None:
                changed.stream = copy
                output.mux(changed)
    return path


def early(folder: Path) -> Path:
    """The first 30 frames lie before 0: they are decoded, but an edit list hides them."""
    source = write_clip(folder, "h264")

    def change(packet: av.Packet) -> av.Packet:
        ticks = round(Fraction(30, RATE) / packet.time_base)
        packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        return packet

    return remuxed(source, folder / "edit.mp4", change, options={"avoid_negative_ts": "disabled"})


def joined(folder: Path) -> Path:
    """Two recordings in one file, whose clock starts anew in the middle."""
    once = write_clip(folder, "mpeg2", seconds=4)
    path = folder / "joined.ts"
    path.write_bytes(once.read_bytes() * 2)
    return path


def corrupted(folder: Path) -> Path:
    """All packets from 2 to 5 s are damaged, so that a part of the video has no frame."""
    source = encode(folder / "intact.mkv", "mpeg4", {"g": "25", "sc_threshold": "1000000000"})
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        for packet in container.demux(video=0):
            if packet.size and 2 <= packet.pts * packet.time_base < 5:
                content[packet.pos + 12 : packet.pos + packet.size] = bytes(packet.size - 12)
    path = folder / "corrupted.mkv"
    path.write_bytes(content)
    return path


def repeated(folder: Path) -> Path:
    """Some times occur twice."""
    source = encode(folder / "even.mkv", "libx264", {"g": "25", "bf": "0"})

    def change(packet: av.Packet) -> av.Packet:
        if packet.pts % 200 == 40:
            packet.pts, packet.dts = packet.pts - 40, packet.dts - 40
        return packet

    return remuxed(source, folder / "repeated.mkv", change)


SOURCES: dict[str, Callable[[Path], Path]] = {
    "frames that are never shown": lambda folder: encode(
        folder / "a.webm", "libvpx", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "300k"}
    ),
    "intra refresh": lambda folder: encode(
        folder / "a.mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=25:bframes=0"}
    ),
    "intra refresh in TS": lambda folder: encode(
        folder / "a.ts", "libx264", {"x264-params": "intra-refresh=1:keyint=25:bframes=0"}
    ),
    "interlaced": lambda folder: encode(
        folder / "a.mkv", "libx264", {"x264-params": "tff=1:keyint=25"}, interlaced=True
    ),
    "interlaced MPEG-2": lambda folder: encode(
        folder / "a.ts", "mpeg2video", {"g": "12", "bf": "2", "flags": "+ildct+ilme"}, interlaced=True
    ),
    "an edit list": early,
    "joined recordings": joined,
    "repeated times": repeated,
    "AVI": lambda folder: encode(folder / "a.avi", "mpeg4", {"g": "25"}),
    "AVI with B-frames": lambda folder: encode(folder / "a.avi", "mpeg4", {"g": "25", "bf": "2"}),
    "MPEG-PS": lambda folder: encode(folder / "a.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    "ProRes": lambda folder: encode(folder / "a.mov", "prores_ks", {}, pix_fmt="yuv422p10le"),
    "10 bits": lambda folder: encode(
        folder / "a.mkv", "libx265", {"x265-params": "log-level=none:keyint=25:open-gop=1"}, pix_fmt="yuv420p10le"
    ),
    "AV1": lambda folder: encode(folder / "a.mkv", "libsvtav1", {"g": "25", "preset": "10"}),
}
IN_ONE_PIECE = {"repeated times"}


@pytest.mark.parametrize("name", SOURCES)
def test_every_part_by_itself_equals_one_pass(upscaler, tmp_path, name):
    source = SOURCES[name](tmp_path)
    whole = upscale_video(source, tmp_path / "whole.mkv", upscaler, encoder=LOSSLESS, job=ONE_PIECE)
    pool = InlinePool(upscaler)
    parts = upscale_video(source, tmp_path / "parts.mkv", upscaler, encoder=LOSSLESS, job=TWO_SECONDS, pool=pool)
    assert digest(tmp_path / "parts.mkv") == digest(tmp_path / "whole.mkv")
    assert parts.frames == whole.frames
    assert parts.complete == whole.complete
    assert (pool.tasks > 2) == (name not in IN_ONE_PIECE)


def test_a_part_without_frames_is_damage(upscaler, tmp_path):
    source, target = corrupted(tmp_path), tmp_path / "parts.mkv"
    report = upscale_video(
        source, target, upscaler, encoder=LOSSLESS, job=TWO_SECONDS, pool=InlinePool(upscaler), span=Span(0, 8)
    )
    assert not report.complete
    intact = [frame for frame in digest(target)["frames"] if frame[0] < 2000 or frame[0] >= 5000]
    upscale_video(tmp_path / "intact.mkv", tmp_path / "intact2x.mkv", upscaler, encoder=LOSSLESS, job=ONE_PIECE)
    expected = digest(tmp_path / "intact2x.mkv")["frames"]
    assert intact == [frame for frame in expected if frame[0] < 2000 or frame[0] >= 5000]


def test_a_frame_that_is_lost_without_damage_is_an_error_not_a_file(upscaler, tmp_path, monkeypatch):
    source, target = encode(tmp_path / "a.mkv", "libx264", {"g": "25"}), tmp_path / "parts.mkv"
    read = VideoReader.__iter__
    monkeypatch.setattr(VideoReader, "__iter__", lambda self: (f for f in read(self) if f.pts != 5000))
    with pytest.raises(VideoError, match=r"has \d+ frames, but not the \d+ that"):
        upscale_video(source, target, upscaler, encoder=LOSSLESS, job=TWO_SECONDS)
    assert not target.exists()
    [job] = JobFolder.find(target)
    assert len(pts_of(join_partial(job))) == 199
