"""Access stream properties that PyAV has no attribute for, through small Matroska headers.

To be removed once PyAV has them.

- Audio delay, static HDR and geometry: `delayed_audio` and `tagged_video` build the header of a Matroska file in
  memory. FFmpeg opens it and copies the properties, with the stream as a template, into other containers.
- Chroma siting, cropping, stereo mode and projection: `header_properties` lets FFmpeg write a Matroska header for a
  stream and reads the tags from it.
- Sample aspect ratio of Matroska and WebM: the muxer takes it from a field that PyAV does not set. The track title is
  padded with TITLE_PADDING, and `set_display_size` gives those bytes to DisplayWidth and DisplayHeight in the finished
  file. No other byte moves.

Element numbers: RFC 9559.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av

from .frames import StaticHdr

TITLE_PADDING = "\x01display size\x01" + " " * 40

_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TRACK, _TRACK_NUMBER, _TRACK_UID, _TRACK_TYPE, _NAME = 0xAE, 0xD7, 0x73C5, 0x83, 0x536E
_CODEC_ID, _CODEC_PRIVATE, _CODEC_DELAY = 0x86, 0x63A2, 0x56AA
_AUDIO, _SAMPLING_FREQUENCY, _CHANNELS = 0xE1, 0xB5, 0x9F
_VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT, _COLOR = 0xE0, 0xB0, 0xBA, 0x55B0
_MAX_CLL, _MAX_FALL, _MASTERING, _FIRST_MASTERING_VALUE = 0x55BC, 0x55BD, 0x55D0, 0x55D1
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_CROP = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
_CHROMA_SITING = (0x55B7, 0x55B8)
_STEREO_MODE, _PROJECTION = 0x53B8, 0x7670
_VOID, _CRC = 0xEC, 0xBF
_UNKNOWN_SIZES = {(1 << 7 * length) - 1 for length in range(1, 9)}  # of an element that was written live

_AUDIO_CODECS = {
    "aac": "A_AAC", "mp3": "A_MPEG/L3", "ac3": "A_AC3", "eac3": "A_EAC3", "flac": "A_FLAC", "alac": "A_ALAC",
}  # fmt: skip
_VIDEO_CODECS = {
    "h264": "V_MPEG4/ISO/AVC", "hevc": "V_MPEGH/ISO/HEVC", "av1": "V_AV1", "vp9": "V_VP9", "prores": "V_PRORES",
    "ffv1": "V_FFV1",
}  # fmt: skip
# (ChromaSitingHorz, ChromaSitingVert): 1 is at the first luma sample, 2 half way to the next.
_SITINGS: dict[tuple[int, ...], str] = {(1, 2): "left", (2, 2): "center", (1, 1): "topleft"}
# Values of StereoMode that a muxer writes; Matroska's writes all.
_STEREO_MODES_OF = {"mp4": {0, 1, 3}, "mov": {0}, "webm": {0, 1, 2, 3, 11}}
# AVStereo3DType: side by side, top and bottom, alternating frames, checkerboard, rows, columns -> StereoMode with the
# left view first, with the right view first.
_STEREO_MODES = {1: (1, 11), 2: (3, 2), 3: (13, 14), 4: (5, 4), 5: (1, 11), 6: (7, 6), 7: (9, 8)}


# --- stream templates --------------------------------------------------------------------------------------------


def delayed_audio(codec: str, context: Any, delay: float) -> tuple[av.container.InputContainer, Any] | None:
    """Return (file, its stream) like the audio of `context`, whose first `delay` seconds are skipped in playback.

    None for a codec without a known Matroska name. The file must stay open as long as the stream is used.
    """
    if codec not in _AUDIO_CODECS:
        return None
    audio = _float(_SAMPLING_FREQUENCY, context.sample_rate) + _number(_CHANNELS, context.channels)
    private = _element(_CODEC_PRIVATE, bytes(context.extradata)) if context.extradata else b""
    return _opened(
        _number(_TRACK_TYPE, 2)
        + _element(_CODEC_ID, _AUDIO_CODECS[codec].encode())
        + private
        + _number(_CODEC_DELAY, round(delay * 1e9))
        + _element(_AUDIO, audio)
    )


def tagged_video(
    codec: str, width: int, height: int, hdr: StaticHdr, geometry: bytes = b""
) -> tuple[av.container.InputContainer, Any]:
    """Return (file, its stream) of a video codec, one of `encoders.SOFTWARE`, with static HDR metadata and geometry.

    The file must stay open as long as the stream is used.
    """
    color = b""
    if hdr.content_light:
        color += _number(_MAX_CLL, hdr.content_light[0]) + _number(_MAX_FALL, hdr.content_light[1])
    if hdr.mastering:
        green, blue, red, white, luminance = hdr.mastering
        values = [*red, *green, *blue, *white, *luminance]  # numbered in this order
        elements = (_float(_FIRST_MASTERING_VALUE + i, float(value)) for i, value in enumerate(values))
        color += _element(_MASTERING, b"".join(elements))
    video = _number(_PIXEL_WIDTH, width) + _number(_PIXEL_HEIGHT, height) + _element(_COLOR, color) + geometry
    return _opened(
        _number(_TRACK_TYPE, 1) + _element(_CODEC_ID, _VIDEO_CODECS[codec].encode()) + _element(_VIDEO, video)
    )


def _opened(track: bytes) -> tuple[av.container.InputContainer, Any]:
    head = _element(_EBML, _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2))
    info = _element(_INFO, _number(0x2AD7B1, 1_000_000))
    tracks = _element(_TRACKS, _element(_TRACK, _number(_TRACK_NUMBER, 1) + _number(_TRACK_UID, 1) + track))
    cluster = _element(_CLUSTER, _number(0xE7, 0))  # FFmpeg reads on until it finds one
    file = av.open(io.BytesIO(head + _element(_SEGMENT, info + tracks + cluster)), "r", format="matroska")
    return file, file.streams[0]


# --- properties of a stream ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeaderProperties:
    """The properties of a video stream that its container states.

    Attributes:
        siting: where the chroma samples lie, as `Color.siting`; None if it is not said.
        crop: columns and rows that are not shown, at the (left, top, right, bottom).
        geometry: stereo mode and spherical projection, as elements of a Matroska header; empty if there are none.
    """

    siting: str | None = None
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    geometry: bytes = b""


def header_properties(stream: Any) -> HeaderProperties:
    """Return the properties of a video stream that FFmpeg writes into the header of a Matroska file."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
            data = file.getvalue()
    except (av.FFmpegError, OSError, ValueError, TypeError):
        return HeaderProperties()
    for number in (_SEGMENT, _TRACKS, _TRACK, _VIDEO):
        data = next((content for found, _, content in _elements(data) if found == number), b"")
    video = {number: (element, content) for number, element, content in _elements(data)}
    color = {number: content for number, _, content in _elements(video.get(_COLOR, (b"", b""))[1])}
    left, top, right, bottom = (int.from_bytes(video.get(number, (b"", b""))[1], "big") for number in _CROP)
    siting = tuple(int.from_bytes(color.get(number, b""), "big") for number in _CHROMA_SITING)
    geometry = b"".join(video[number][0] for number in (_STEREO_MODE, _PROJECTION) if number in video)
    return HeaderProperties(_SITINGS.get(siting), (left, top, right, bottom), geometry)


def has_projection(geometry: bytes) -> bool:
    """Return True if a geometry contains a spherical projection."""
    return any(number == _PROJECTION for number, _, _ in _elements(geometry))


def has_stereo_mode(geometry: bytes) -> bool:
    """Return True if a geometry contains a stereo mode other than one view."""
    return any(number == _STEREO_MODE and any(content) for number, _, content in _elements(geometry))


def fitting_geometry(geometry: bytes, container: str) -> bytes:
    """Return a geometry without the stereo mode if FFmpeg's muxer does not write that one."""
    modes = _STEREO_MODES_OF.get(container)
    if modes is None:
        return geometry
    kept = (
        element
        for number, element, content in _elements(geometry)
        if number != _STEREO_MODE or int.from_bytes(content, "big") in modes
    )
    return b"".join(kept)


def stereo_mode(arrangement: int, right_first: bool) -> bytes:
    """Return the geometry of two views in a frame, arranged as in AVStereo3DType; empty for one view."""
    modes = _STEREO_MODES.get(arrangement)
    return _number(_STEREO_MODE, modes[right_first]) if modes else b""


# --- joined files ------------------------------------------------------------------------------------------------


def segment_sizes(file: BinaryIO) -> tuple[list[tuple[int, int]], bool]:
    """Return ((start, end) of the length field of each segment, True if the length of the last is not known).

    There is more than one segment if files were joined.
    """
    sizes: list[tuple[int, int]] = []
    place = 0
    with suppress(IndexError):  # damaged
        while True:
            file.seek(place)
            head = file.read(2**12)
            if not head.startswith(_EBML.to_bytes(4, "big")):
                break
            _, _, begin = next(_spans(head))
            number, start, end = next(_spans(head[begin:]), (0, 0, 0))
            if number != _SEGMENT:
                break
            sizes.append((place + begin + 4, place + begin + start))
            if end - start in _UNKNOWN_SIZES:
                return sizes, True
            place += begin + end
    return sizes, False


# --- display size ------------------------------------------------------------------------------------------------


def set_display_size(path: Path, width: int, height: int, sample_aspect_ratio: Fraction) -> None:
    """Write the display size of the track whose title contains TITLE_PADDING into a finished file.

    The size is width x height with one side enlarged by the sample aspect ratio, rounded to a pixel.

    Raises:
        ValueError: the file has no such track.
    """
    ratio = sample_aspect_ratio
    shown = (round(width * ratio), height) if ratio >= 1 else (width, round(height / ratio))
    with open(path, "r+b") as file:
        head = file.read(2**20)  # tracks come before anything that is large
        segment = next(start for number, start, _ in _spans(head) if number == _SEGMENT)
        start, end = next(
            (segment + start, segment + end) for number, start, end in _spans(head[segment:]) if number == _TRACKS
        )
        tracks = b""
        crc = 0
        for number, raw, data in _elements(head[start:end]):
            if number == _CRC:
                crc = len(raw)
                continue
            padded = number == _TRACK and TITLE_PADDING.encode() in data
            tracks += _with_display_size(raw, data, *shown) if padded else raw
        if len(tracks) + crc != end - start or TITLE_PADDING.encode() in tracks:
            raise ValueError("the Matroska track whose display size is to be set was not found")
        if crc:
            tracks = b"\xbf\x84" + zlib.crc32(tracks).to_bytes(4, "little") + tracks
        file.seek(start)
        file.write(tracks)


def _with_display_size(raw: bytes, track: bytes, width: int, height: int) -> bytes:
    """Return a track element of the same length with the display size in place of the title's padding."""
    data = b""
    for number, element, content in _elements(track):
        if number == _NAME and TITLE_PADDING.encode() in content:
            name = content.replace(TITLE_PADDING.encode(), b"")
            element = _element(_NAME, name) if name else b""
        elif number == _VIDEO:
            replaced = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)  # the unit's default is pixels
            video = b"".join(child for number, child, _ in _elements(content) if number not in replaced)
            video += _element(_DISPLAY_WIDTH, width.to_bytes(4, "big"))
            video += _element(_DISPLAY_HEIGHT, height.to_bytes(4, "big"))
            element = _element(_VIDEO, video)
        data += element
    padding = len(raw) - len(_element(_TRACK, data)) - len(_element(_VOID, b""))
    return _element(_TRACK, data + _element(_VOID, bytes(padding)))


# --- EBML --------------------------------------------------------------------------------------------------------


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (number, all bytes, content) of each of the elements in a row."""
    position = 0
    for number, start, end in _spans(data):
        yield number, data[position:end], data[start:end]
        position = end


def _spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, end) of the content of each of the elements in a row."""
    position = 0
    while position < len(data):
        number_length = 9 - data[position].bit_length()
        length = 9 - data[position + number_length].bit_length()
        start = position + number_length + length
        size = int.from_bytes(data[position + number_length : start], "big") & ((1 << 7 * length) - 1)
        yield int.from_bytes(data[position : position + number_length], "big"), start, start + size
        position = start + size


def _element(number: int, data: bytes) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + (len(data) | 1 << 56).to_bytes(8, "big") + data


def _number(number: int, value: int) -> bytes:
    return _element(number, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _float(number: int, value: float) -> bytes:
    return _element(number, struct.pack(">d", value))
