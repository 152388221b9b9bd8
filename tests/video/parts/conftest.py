"""Clips with audio and key frames every second or two, a small model, and digests of what files hold."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from supertile.inference.spec import UpscalerSpec
from supertile.inference.upscaler import Upscaler
from supertile.tests.conftest import write_small_vapsr

WIDTH, HEIGHT, RATE = 32, 24, 25

CLIPS: dict[str, tuple[str, str, dict[str, str], bool]] = {
    "h264": (".mp4", "libx264", {"g": "25", "bf": "2"}, False),
    "open-gop": (".mkv", "libx264", {"g": "30", "bf": "3", "x264-params": "open-gop=1:keyint=30"}, False),
    "hevc": (
        ".mp4",
        "libx265",
        {"x265-params": "log-level=none:keyint=25:open-gop=1:bframes=3:frame-threads=1"},
        False,
    ),
    "vp9": (".webm", "libvpx-vp9", {"g": "25", "cpu-used": "8", "deadline": "realtime"}, False),
    "mpeg2": (".ts", "mpeg2video", {"g": "12", "bf": "2"}, False),
    "vfr": (".mkv", "libx264", {"g": "20", "bf": "2"}, True),
}


def write_clip(folder: Path, name: str, seconds: int = 8) -> Path:
    """Write a clip of one of CLIPS, with AAC audio where its container holds it."""
    suffix, codec, options, is_vfr = CLIPS[name]
    path = folder / f"{name}{suffix}"
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 255, (HEIGHT + 40, WIDTH + 40, 3), dtype=np.uint8)
    time_base = Fraction(1, 1000) if is_vfr else Fraction(1, RATE)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE, options=dict(options))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = time_base
        audio = None if suffix == ".webm" else container.add_stream("aac", rate=48000, layout="mono")
        pts = samples = 0
        for number in range(seconds * RATE):
            at = number % 40
            image = np.ascontiguousarray(noise[at : at + HEIGHT, at // 2 : at // 2 + WIDTH])
            image[:6, :6] = number % 256
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = pts, time_base
            pts += int(generator.integers(20, 70)) if is_vfr else 1
            container.mux(video.encode(frame))
            while audio is not None and samples <= float(frame.pts * time_base) * 48000:
                wave = 8000 * np.sin(np.arange(samples, samples + 1024) * 0.06)
                sound = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None] / 32768, format="fltp", layout="mono")
                sound.rate, sound.pts, sound.time_base = 48000, samples, Fraction(1, 48000)
                samples += 1024
                container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def digest(path: Path) -> dict[str, Any]:
    """Return the frames (pts, checksum), the packets of all other streams, and the durations that a file declares."""
    found: dict[str, Any] = {}
    with av.open(str(path)) as container:
        found["durations"] = container.duration, [stream.duration for stream in container.streams]
        for stream in container.streams:
            container.seek(0)
            if stream.type == "video":
                found["frames"] = [(f.pts, zlib.crc32(f.to_ndarray())) for f in container.decode(stream)]
            else:
                found[stream.type] = [(p.pts, p.dts, zlib.crc32(p)) for p in container.demux(stream) if p.size]
    return found


def pts_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder, made = tmp_path_factory.mktemp("clips"), {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = write_clip(folder, name)
        return made[name]

    return of


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> UpscalerSpec:
    path = write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors")
    return UpscalerSpec(Path(path), settings=(("precision", "fp32"),))


@pytest.fixture(scope="session")
def upscaler(spec: UpscalerSpec) -> Upscaler:
    return spec.build("cpu")
