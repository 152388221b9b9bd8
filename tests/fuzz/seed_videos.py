"""Make short valid videos in every common container, with sound, subtitles and whatever else they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from supertile.tests.video.media import rich_file

from .seed_images import pixels

os.environ.setdefault("SVT_LOG", "1")  # errors only

_KINDS: dict[str, tuple[str, str, str | None]] = {
    "h264_aac.mp4": ("libx264", "yuv420p", "aac"),
    "h264_ac3.ts": ("libx264", "yuv420p", "ac3"),
    "hevc_flac.mkv": ("libx265", "yuv420p10le", "flac"),
    "av1_opus.mp4": ("libsvtav1", "yuv420p", "libopus"),
    "vp9_opus.webm": ("libvpx-vp9", "yuva420p", "libopus"),
    "vp8.ivf": ("libvpx", "yuv420p", None),
    "mjpeg_pcm.avi": ("mjpeg", "yuvj420p", "pcm_s16le"),
    "mpeg4_mp3.avi": ("mpeg4", "yuv420p", "libmp3lame"),
    "mpeg2_mp2.mpg": ("mpeg2video", "yuv420p", "mp2"),
    "mpeg2_ac3.vob": ("mpeg2video", "yuv420p", "ac3"),
    "mpeg1.m1v": ("mpeg1video", "yuv420p", None),
    "wmv2_wma.wmv": ("wmv2", "yuv420p", "wmav2"),
    "flv1_mp3.flv": ("flv", "yuv420p", "libmp3lame"),
    "h264_aac.flv": ("libx264", "yuv420p", "aac"),
    "mpeg4_aac.3gp": ("mpeg4", "yuv420p", "aac"),
    "prores_pcm.mov": ("prores_ks", "yuv422p10le", "pcm_s16le"),
    "vp8_opus.ogv": ("libvpx", "yuv420p", "libopus"),
    "dv.mxf": ("mpeg2video", "yuv420p", "pcm_s16le"),
    "ffv1_pcm.nut": ("ffv1", "yuv444p", "pcm_s24le"),
    "raw.y4m": ("rawvideo", "yuv420p", None),
    "raw.h264": ("libx264", "yuv420p", None),
    "raw.hevc": ("libx265", "yuv420p", None),
    "colors.gif": ("gif", "rgb8", None),
}
_FORMATS = {".y4m": "yuv4mpegpipe", ".m1v": "mpeg1video", ".h264": "h264", ".hevc": "hevc", ".nut": "nut"}
_QUIET = {"libx265": {"x265-params": "log-level=none"}, "libx264": {"bf": "2"}}


def videos(folder: Path) -> Iterator[Path]:
    """Write videos of 64x64 into `folder` and yield their paths."""
    for name, (codec, layout, audio) in _KINDS.items():
        _video(folder / name, codec, layout, audio)
        yield folder / name
    rich: dict[str, dict[str, Any]] = {
        "rich.mkv": {"subtitle": "ass", "font": True, "cover": True, "second_video": True},
        "rich.mp4": {},
        "rich.mov": {"audio": ("pcm_s16le",), "cover": True},
        "rich.ts": {"audio": ("mp2",), "subtitle": None, "chapters": False, "format": "mpegts"},
    }
    for name, options in rich.items():
        rich_file(folder / name, video=5, clicks=[0.05], **options)
        yield folder / name


def _video(path: Path, codec: str, layout: str, audio: str | None) -> None:
    packets = []
    with av.open(str(path), "w", format=_FORMATS.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=25, options=_QUIET.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = 64, 64, layout
        sound = None if audio is None else container.add_stream(audio, rate=48000)
        if audio == "wmav2":
            sound.bit_rate = 128_000
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(pixels(64, 64)[..., :3] // 2 + 9 * number, format="rgb24")
            frame = frame.reformat(format=layout)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound is not None:
            packets += _tone(sound)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


def _tone(sound: av.AudioStream) -> list[av.Packet]:
    samples = (0.2 * np.sin(np.arange(9600) / 20)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    frame_size = sound.codec_context.frame_size or None
    resampler = av.AudioResampler(sound.format, sound.layout, 48000, frame_size=frame_size)
    packets = []
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        packets += sound.encode(resampled)
    return [*packets, *sound.encode(None)]
