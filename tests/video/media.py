"""Frames to write, and files read back."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from supertile.video.frames import Color, Frame, Layout, StaticHdr, VideoInfo
from supertile.video.read.file import VideoReader

VFR = [0, 40, 41, 100, 133, 167, 500, 501, 502, 900, 1000, 1234]  # ms
VFR_END = 1400


def image(layout: Layout, width: int, height: int, number: int = 0) -> tuple[torch.Tensor, ...]:
    """Planes of a smooth image that changes with `number`, in the middle of the range of codes."""
    planes = []
    for plane in range(layout.planes):
        rows, columns = layout.size_of(plane, width, height)
        y, x = np.mgrid[:rows, :columns]
        wave = 0.5 + 0.3 * np.sin(x / 9 + number / 3 + plane) * np.cos(y / 7 + plane)
        codes = np.round(wave * (2**layout.depth - 1)).astype(np.uint8 if layout.depth <= 8 else np.uint16)
        planes.append(torch.from_numpy(codes))
    return tuple(planes)


def frames(layout: Layout, width: int, height: int, pts: list[int], end: int) -> list[Frame]:
    durations = [b - a for a, b in zip(pts, [*pts[1:], end], strict=False)]
    return [
        Frame(image(layout, width, height, number), time, duration)
        for number, (time, duration) in enumerate(zip(pts, durations, strict=True))
    ]


def info(width=64, height=48, layout=None, color=None, time_base=Fraction(1, 1000), rate=Fraction(25), **more):
    return VideoInfo(
        name="test", width=width, height=height, layout=layout or Layout("yuv", 8, (1, 1)), color=color or Color(),
        time_base=time_base, frame_rate=rate, hdr=more.pop("hdr", StaticHdr()), **more,
    )  # fmt: skip


def read_planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a planar frame, without the padding of lines."""
    dtype = np.uint8 if max(c.bits for c in frame.format.components) <= 8 else np.dtype("<u2")
    return [
        np.frombuffer(plane, dtype)
        .reshape(-1, plane.line_size // np.dtype(dtype).itemsize)[: plane.height, : plane.width]
        .copy()
        for plane in frame.planes
    ]


def decoded(path, options=None) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(container.streams.video[0]))


def click_track(seconds: float, rate: int, channels: int, at: list[float]) -> np.ndarray:
    """(channels, samples) of float32: silence with a short click at each time, another tone in each channel."""
    samples = np.zeros((channels, round(seconds * rate)), np.float32)
    for time in at:
        n = np.arange(round(0.004 * rate))
        for channel in range(channels):
            burst = 0.8 * np.hanning(len(n)) * np.sin(2 * np.pi * (600 + 150 * channel) * n / rate)
            start = round(time * rate)
            samples[channel, start : start + len(n)] = burst
    return samples


def rich_file(
    path,
    *,
    video: int = 25,
    audio: tuple[str, ...] = ("aac", "aac"),
    audio_offset: float = 0.0,
    video_offset: int = 0,
    layout: str = "stereo",
    rate: int = 48000,
    subtitle: str | None = "subrip",
    font: bool = False,
    cover: bool = False,
    second_video: bool = False,
    chapters: bool = True,
    clicks: list[float] | None = None,
    format: str | None = None,
) -> None:
    """A file of one second with much in it, made with PyAV alone. Offsets: seconds, and frames of 1/25 s."""
    mp4 = str(path).endswith((".mp4", ".mov"))
    options = {"movflags": "use_metadata_tags"} if mp4 and not cover else {}  # MP4 has one or the other
    output = av.open(str(path), "w", format=format, container_options=options)
    packets = []
    images = [output.add_stream("libx264", rate=25, options={"bf": "2"}) for _ in range(1 + second_video)]
    for number, stream in enumerate(images):
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = 64 - 16 * number, 48, "yuv420p"
        context.time_base, context.sample_aspect_ratio = Fraction(1, 25), Fraction(16, 15)
        stream.metadata.update(language="eng", title=("Image", "Angle 2")[number])
        stream.disposition = 1 - number
    images[0].set_display_rotation(90)
    sounds = []
    for number, codec in enumerate(audio):
        stream = output.add_stream(codec, rate=rate)
        stream.codec_context.layout = layout
        stream.metadata.update(language=("eng", "fra")[number % 2], title=("Main", "Commentaire")[number % 2])
        stream.disposition = (1, 8)[number % 2]  # default; comment
        sounds.append(stream)
    if subtitle:
        if subtitle == "ass":
            texts = output.add_stream("ass")
            texts.codec_context.subtitle_header = ASS_HEADER
            texts.codec_context.time_base = Fraction(1, 1000)
        else:
            texts = output.add_mux_stream("mov_text" if mp4 else subtitle)
        texts.time_base = Fraction(1, 1000)
        texts.metadata.update(language="deu", title="Signs")
        texts.disposition = 64  # forced
        for start, end, text in SUBTITLES:
            if subtitle == "ass":
                data = f"{start},0,Default,,0,0,0,,{{\\pos(10,10)}}{text}".encode()
            else:
                data = (len(text).to_bytes(2, "big") if mp4 else b"") + text.encode()
            packet = av.Packet(data)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = end - start, Fraction(1, 1000), texts
            packets.append(packet)
    if cover:
        if mp4:
            art = output.add_stream("png", rate=1)
            art.codec_context.width = art.codec_context.height = 16
            art.codec_context.pix_fmt = "rgb24"
            art.disposition = 1024
            (packet,) = art.encode(av.VideoFrame.from_ndarray(COVER, "rgb24"))
            packets.append(packet)
        else:
            encoder = av.CodecContext.create("png", "w")
            encoder.width = encoder.height = 16
            encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
            (packet,) = encoder.encode(av.VideoFrame.from_ndarray(COVER, "rgb24"))
            output.add_attachment("cover.png", "image/png", bytes(packet))
    if font:
        output.add_attachment("font.ttf", "application/x-truetype-font", FONT)
    if chapters:
        output.set_chapters([
            {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
            {"id": 2, "start": 500, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "Two"}},
        ])  # fmt: skip
    output.metadata.update(title="Rich", artist="Me", mykey="my value")

    for stream in images:
        for number in range(video):
            context = stream.codec_context
            frame = av.VideoFrame(context.width, context.height, "yuv420p")
            for plane, samples in zip(
                frame.planes, image(Layout("yuv", 8, (1, 1)), context.width, context.height, number), strict=True
            ):
                target = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                target[: samples.shape[0], : samples.shape[1]] = samples
            frame.pts, frame.time_base = number + video_offset, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
    for stream in sounds:
        context = stream.codec_context
        channels = len(context.layout.channels)
        samples = click_track(video / 25, rate, channels, clicks or [0.2, 0.6])
        for start in range(0, samples.shape[1], 960):
            block = samples[:, start : start + 960]
            packed = np.ascontiguousarray(block.T).reshape(1, -1)  # PyAV makes no planar frame of 8 channels
            frame = av.AudioFrame.from_ndarray(packed, "flt", context.layout.name)
            frame.sample_rate = rate
            frame.pts, frame.time_base = start + round(audio_offset * rate), Fraction(1, rate)
            frame = av.AudioResampler(format=context.format.name).resample(frame)[0]
            packets += stream.encode(frame)
        packets += stream.encode(None)
    for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
        output.mux(packet)
    output.close()


SUBTITLES = [(100, 400, "Hello"), (600, 900, "<i>World</i>")]
FONT = bytes(range(256)) * 5
COVER = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def packets_of(path) -> dict[int, list[tuple[Fraction | None, bytes]]]:
    """(seconds when shown, payload) of all packets of each stream; covers and attachments have none in time."""
    result: dict[int, list[tuple[Fraction | None, bytes]]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                time = None if packet.pts is None else packet.pts * packet.time_base
                result.setdefault(packet.stream_index, []).append((time, bytes(packet)))
    return result


def onsets(path, index: int = 0, channel: int = 0) -> list[float]:
    """Seconds at which the clicks of an audio stream are heard: the middle of each, by decoding and resampling."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[index]
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler(format="flt")
        sound: list[np.ndarray] = []
        begin = None
        for frame in container.decode(stream):
            if begin is None:
                begin = frame.pts * frame.time_base
            # Where a frame says that it begins is where it is put: gaps stay gaps.
            due = round(float(frame.pts * frame.time_base - begin) * rate)
            have = sum(part.shape[0] for part in sound)
            if due - have > rate // 500:
                sound.append(np.zeros(due - have, np.float32))
            for block in resampler.resample(frame):
                sound.append(block.to_ndarray().reshape(-1, len(block.layout.channels))[:, channel])
    heard = np.abs(np.concatenate(sound))
    loud = np.flatnonzero(heard > 0.1 * heard.max())
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > rate // 20) + 1)
    return [float(begin) + float(np.average(group, weights=heard[group] ** 2)) / rate for group in groups]


def read(source: Any, **options: Any) -> tuple[VideoReader, list[Frame], list[str]]:
    """(reader, closed; all its frames; all its warnings)."""
    said: list[str] = []
    with VideoReader(source, warn=said.append, **options) as reader:
        return reader, list(reader), said


def arrays(frame: Frame) -> list[np.ndarray]:
    return [plane.numpy() for plane in frame.planes]


def same(frame: Frame, planes: list[np.ndarray]) -> bool:
    return len(frame.planes) == len(planes) and all(
        np.array_equal(a, b) for a, b in zip(arrays(frame), planes, strict=True)
    )


def rgba(seed: int, width: int = 12, height: int = 8, channels: int = 4, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)


def stacked(frame: Any) -> np.ndarray:
    return np.stack([plane.numpy() for plane in frame.planes], -1)
