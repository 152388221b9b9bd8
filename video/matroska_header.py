"""A stream of a file that exists only in memory, as a template with properties that PyAV has no attribute for.

Of a Matroska file its head is written: one track, no packets. FFmpeg reads it, and what it finds there (the delay of
an audio encoder, HDR metadata) is copied with the template into other files. Element numbers: RFC 9559.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import av

from .frames import StaticHdr

_AUDIO = {"aac": "A_AAC", "mp3": "A_MPEG/L3", "ac3": "A_AC3", "eac3": "A_EAC3", "flac": "A_FLAC", "alac": "A_ALAC"}
_VIDEO = {
    "h264": "V_MPEG4/ISO/AVC", "hevc": "V_MPEGH/ISO/HEVC", "av1": "V_AV1", "vp9": "V_VP9", "prores": "V_PRORES",
    "ffv1": "V_FFV1",
}  # fmt: skip


def delayed_audio(codec: str, context: Any, delay: float) -> tuple[av.container.InputContainer, Any] | None:
    """(file, its stream) of the codec of `context`, its first `delay` seconds not to be heard; None: unknown codec.

    The file must stay open as long as the stream is used.
    """
    if codec not in _AUDIO:
        return None
    audio = _float(0xB5, context.sample_rate) + _number(0x9F, context.channels)
    private = _element(0x63A2, bytes(context.extradata)) if context.extradata else b""
    return _opened(
        _number(0x83, 2)
        + _element(0x86, _AUDIO[codec].encode())
        + private
        + _number(0x56AA, round(delay * 1e9))
        + _element(0xE1, audio)
    )


def hdr_video(codec: str, width: int, height: int, hdr: StaticHdr) -> tuple[av.container.InputContainer, Any]:
    """(file, its stream) of a video codec, one of `codecs.SOFTWARE`, with static HDR metadata in the container."""
    color = b""
    if hdr.content_light:
        color += _number(0x55BC, hdr.content_light[0]) + _number(0x55BD, hdr.content_light[1])
    if hdr.mastering:
        green, blue, red, white, light = hdr.mastering
        values = [*red, *green, *blue, *white, *light]  # from 0x55D1 on, in this order
        color += _element(0x55D0, b"".join(_float(0x55D1 + i, float(value)) for i, value in enumerate(values)))
    video = _number(0xB0, width) + _number(0xBA, height) + _element(0x55B0, color)
    return _opened(_number(0x83, 1) + _element(0x86, _VIDEO[codec].encode()) + _element(0xE0, video))


def _opened(track: bytes) -> tuple[av.container.InputContainer, Any]:
    head = _element(0x1A45DFA3, _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2))
    info = _element(0x1549A966, _number(0x2AD7B1, 1_000_000))
    tracks = _element(0x1654AE6B, _element(0xAE, _number(0xD7, 1) + _number(0x73C5, 1) + track))
    cluster = _element(0x1F43B675, _number(0xE7, 0))  # FFmpeg reads on until it finds one
    file = av.open(io.BytesIO(head + _element(0x18538067, info + tracks + cluster)), "r", format="matroska")
    return file, file.streams[0]


def _element(number: int, data: bytes) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + (len(data) | 1 << 56).to_bytes(8, "big") + data


def _number(number: int, value: int) -> bytes:
    return _element(number, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _float(number: int, value: float) -> bytes:
    return _element(number, struct.pack(">d", value))
