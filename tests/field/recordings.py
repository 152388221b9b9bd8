"""Recordings of H.264 or MPEG-2 with sound, made by PyAV, and what an independent reader finds in a file."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

RATE, SOUND_RATE = 25, 48000


def recording(
    seconds: float = 1,
    start: float = 0,
    *,
    format: str = "mpegts",
    video: str | None = "libx264",
    sounds: tuple[str, ...] = ("aac",),
    sound_from: tuple[float, ...] = (),
    options: dict[str, str] | None = None,
    bf: int = 2,
) -> bytes:
    """A file whose clock starts at `start` seconds.

    sound_from: seconds of the recording at which each sound begins.
    """
    file = io.BytesIO()
    packets = []
    with av.open(file, "w", format=format, options=options or {}) as output:
        if video is not None:
            reordered = {"bf": str(bf)} if video in ("libx264", "mpeg4") else {}
            picture: Any = output.add_stream(video, rate=RATE, options=reordered)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p" if video == "mjpeg" else "yuv420p"
            for number in range(round(seconds * RATE)):
                luma = np.full((72, 64), 128, np.uint8)
                luma[:48] = 40 + 4 * number % 150
                frame = av.VideoFrame.from_ndarray(luma, picture.pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                packets += picture.encode(frame)
            packets += picture.encode(None)
        for number, codec in enumerate(sounds):
            sound: Any = output.add_stream(codec, rate=SOUND_RATE)
            sound.layout = "stereo"
            if codec.startswith("wma"):
                sound.bit_rate = 128_000
            begin = round((sound_from[number] if number < len(sound_from) else 0) * SOUND_RATE)
            resampler = av.AudioResampler(format=sound.format.name)
            for position in range(begin, round(seconds * SOUND_RATE), 960):
                wave = np.sin(np.arange(position, position + 960) / (20 + 5 * number)).astype(np.float32) / 2
                block = av.AudioFrame.from_ndarray(np.repeat(wave, 2).reshape(1, -1), "flt", "stereo")
                block.sample_rate, block.pts, block.time_base = SOUND_RATE, position, Fraction(1, SOUND_RATE)
                for resampled in resampler.resample(block):
                    packets += sound.encode(resampled)
            packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            ticks = round(Fraction(start) / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            output.mux(packet)
    return file.getvalue()


@dataclass
class Found:
    """The contents of a file as PyAV reads it: types of streams; packet times in seconds and payloads by index."""

    types: list[str]
    times: list[list[float]]
    payloads: list[list[bytes]]
    duration: float

    def of(self, kind: str, number: int = 0) -> list[float]:
        return self.times[[i for i, each in enumerate(self.types) if each == kind][number]]

    def payload(self, kind: str, number: int = 0) -> bytes:
        return b"".join(self.payloads[[i for i, each in enumerate(self.types) if each == kind][number]])


def found(path: Path, options: dict[str, str] | None = None) -> Found:
    with av.open(str(path), options=options or {}) as file:
        times: list[list[float]] = [[] for _ in file.streams]
        payloads: list[list[bytes]] = [[] for _ in file.streams]
        for packet in file.demux():
            if packet.size:
                times[packet.stream_index].append(float(packet.pts * packet.time_base))
                payloads[packet.stream_index].append(bytes(packet))
        duration = file.duration / 1e6 if file.duration else 0.0
        return Found([stream.type for stream in file.streams], [sorted(each) for each in times], payloads, duration)


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def field_file(name: str) -> Path:
    """A file of the shared folder, which is test data only and never part of the repository."""
    folder = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "field"
    if not (folder / name).is_file():
        pytest.skip(f"there is no {folder / name}")
    return folder / name
