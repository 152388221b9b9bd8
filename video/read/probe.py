"""Probe a video stream: its VideoInfo from container, codec and first frame, with defaults for missing tags."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import av

from ..clock import Clock
from ..container import video_streams
from ..errors import VideoError
from ..frames import UNSPECIFIED, Color, Layout, StaticHdr, VideoInfo
from ..matroska import has_projection, has_stereo_mode, header_properties, stereo_mode
from .planes import pixel_format

_IDENTITY = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
_CAPTIONS = "A53_CC"
_DYNAMIC = {"DYNAMIC_HDR_PLUS": "HDR10+", "DOVI_RPU_BUFFER": "Dolby Vision",
            "DOVI_METADATA": "Dolby Vision", "DYNAMIC_HDR_VIVID": "HDR Vivid"}  # fmt: skip

# Demuxers that estimate durations from the bit rate.
_NO_DURATION = re.compile(r"^(h26[134]|hevc|vvc|m4v|mpegvideo|mpeg|mjpeg|av1|obu|dirac|cavsvideo|avs2|avs3|vc1)$")
# Codecs whose gray frames are limited-range luma; in other codecs untagged gray is full range.
_MPEG_LIKE = {"h264", "hevc", "vvc", "av1", "vp8", "vp9", "mpeg2video", "mpeg4", "prores", "dnxhd"}
_UNUSUAL_MATRICES = {8: "YCgCo", 10: "constant-luminance BT.2020", 11: "SMPTE 2085", 12: "chroma-derived",
                     13: "chroma-derived constant-luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re",
                     17: "YCgCo-Ro"}  # fmt: skip

_MILLISECONDS = 1000
_MAX_PIXEL_SHAPE = 100  # wider or narrower pixels are damage
_MAX_PIXEL_TERM = 65535  # what the sequence headers of H.264 and HEVC hold


def probe(
    name: str, container: Any, stream: Any, clock: Clock, frame: av.VideoFrame, warn: Callable[[str], None]
) -> tuple[VideoInfo, set[str]]:
    """Return (the properties of the stream, names of dynamic metadata in the first frame)."""
    try:
        known = pixel_format(frame.format.name)
    except KeyError:
        raise VideoError(f"{name} decodes to the pixel format {frame.format.name}, which is not supported.") from None
    context = stream.codec_context
    header = header_properties(stream)
    if _has_unreadable_side_data(frame):
        warn(
            f"{name} has data beside its frames that PyAV cannot read, as stereo videos have. Of several views the "
            "first is upscaled. The rotation is kept; HDR, stereo and spherical tags of frames are dropped."
        )
    hdr, matrix, dynamic = side_data(frame)
    rate = _rate(stream)
    time_base = Fraction(stream.time_base)
    start = frame.pts if frame.pts is not None else 0
    end = declared_end(container, stream, clock)
    numbers = [each.index for each in video_streams(container)]
    return VideoInfo(
        name=name,
        width=frame.width,
        height=frame.height,
        crop=_crop(header.crop, known.layout, frame.width, frame.height),
        geometry=_geometry(name, frame, header.geometry, warn),
        layout=known.layout,
        color=color_of(name, stream, frame, warn),
        time_base=time_base,
        frame_rate=rate,
        codec=_codec_name(context),
        start_pts=start,
        duration=end - start if end is not None and end > start else None,
        frames=stream.frames or None,
        sample_aspect_ratio=_pixel_shape(name, stream, warn),
        display_matrix=matrix,
        hdr=hdr,
        interlaced=bool(frame.interlaced_frame),
        video_streams=(numbers.index(stream.index), len(numbers)),
        stream_index=stream.index,
    ), dynamic


def _pixel_shape(name: str, stream: Any, warn: Callable[[str], None]) -> Fraction:
    """Return the sample aspect ratio; 1 if it is missing or no display could show it."""
    ratio = Fraction(stream.sample_aspect_ratio or 1)
    if ratio <= 0:
        return Fraction(1)
    if not 1 / _MAX_PIXEL_SHAPE <= ratio <= _MAX_PIXEL_SHAPE:
        warn(
            f"{name} declares a pixel shape of {ratio.numerator}:{ratio.denominator}. It is ignored: pixels are square."
        )
        return Fraction(1)
    return ratio.limit_denominator(_MAX_PIXEL_TERM)


def _crop(hidden: tuple[int, int, int, int], layout: Layout, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the container's crop at the (left, top, right, bottom), in whole chroma samples, or zeros."""
    left, top, right, bottom = hidden
    if left + right >= width or top + bottom >= height:
        return 0, 0, 0, 0
    x, y = layout.subsampling if layout.model == "yuv" else (0, 0)
    return left >> x << x, top >> y << y, right, bottom


def _geometry(name: str, frame: av.VideoFrame, header: bytes, warn: Callable[[str], None]) -> bytes:
    """Return the stereo mode and projection of the header, or the stereo mode that the codec declares."""
    side_data = {data.type.name: bytes(data) for data in _entries(frame) if data.type.name in ("SPHERICAL", "STEREO3D")}
    if "SPHERICAL" in side_data and not has_projection(header):
        warn(f"{name} is a spherical video in a projection that cannot be written. The tag is dropped.")
    if "STEREO3D" in side_data and not has_stereo_mode(header):
        arrangement, flags = struct.unpack_from("=2i", side_data["STEREO3D"])
        stereo = stereo_mode(arrangement, bool(flags & 1))
        if arrangement and not stereo:
            warn(f"{name} is a stereo video in an arrangement that cannot be written. The tag is dropped.")
        return stereo + header
    return header


def _codec_name(context: Any) -> str:
    """Return the name of the codec, not of its decoder (av1, not libdav1d)."""
    return str(getattr(context.codec, "canonical_name", None) or context.name)


def _rate(stream: Any) -> Fraction:
    """Return the nominal frame rate; 25 if it is unknown, or if it is only the tick of 1 ms of the container."""
    rates = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    is_tick = Fraction(stream.time_base) == Fraction(1, _MILLISECONDS)
    return next((rate for rate in rates if rate > 0 and not (is_tick and rate >= _MILLISECONDS)), Fraction(25))


def declared_end(container: Any, stream: Any, clock: Clock) -> int | None:
    """Return the pts on `clock` at which the stream declares to end; None if it is not declared or only estimated."""
    end = None if clock.file.is_spliced else _end_on_own_clock(container, stream)
    return None if end is None else end - clock.ticks(Fraction(stream.time_base))


def _end_on_own_clock(container: Any, stream: Any) -> int | None:
    if _NO_DURATION.match(container.format.name):
        return None
    time_base = Fraction(stream.time_base)
    if stream.duration:
        return (stream.start_time or 0) + stream.duration
    for key, value in stream.metadata.items():  # Matroska by FFmpeg and mkvmerge: the end of the stream, from 0
        if key.upper().split("-")[0] == "DURATION" and (match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", value)):
            hours, minutes, seconds = match.groups()
            return round((int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)) / time_base)
    if container.duration and len(container.streams) == 1 and container.format.name != "mpegts":
        return round(Fraction(container.duration, 1_000_000) / time_base)
    return None


def color_tags(frame: av.VideoFrame) -> tuple[int, ...]:
    """Return what a frame says of its color, to see cheaply that it changes on the way."""
    return (
        int(frame.color_range or 0),
        int(frame.colorspace or 0),
        int(frame.color_primaries or 0),
        int(frame.color_trc or 0),
        int(pixel_format(frame.format.name).full_range),
    )


def color_of(name: str, stream: Any, frame: av.VideoFrame, warn: Callable[[str], None], *, first: bool = True) -> Color:
    """Return the color of a frame, with defaults for missing tags.

    first: the tags of the stream count as well. Later they may be those of a frame that is still in the decoder.
    """
    context = stream.codec_context
    known = pixel_format(frame.format.name)
    model = known.layout.model

    def tag(name: str) -> int:
        for value in (getattr(frame, name, None), getattr(context, name, None) if first else None):
            if value is not None and int(value) not in (UNSPECIFIED, 3):
                return int(value)
        return UNSPECIFIED

    matrix, primaries, transfer = tag("colorspace"), tag("color_primaries"), tag("color_trc")
    code_range = int(frame.color_range or 0) or (int(context.color_range or 0) if first else 0)
    if model == "rgb":
        return Color(0, True, "left", primaries, transfer, True)
    # H.264's decoder keeps the pixel format of the first frames (yuvj420p), which then contradicts the range.
    full = code_range == 2 or (known.full_range and (first or code_range == 0))
    if model == "gray" and code_range == 0:
        full = _codec_name(context) not in _MPEG_LIKE
    tagged = matrix not in (UNSPECIFIED, 0)  # 0 means RGB, which is wrong for YUV planes
    if not tagged:
        matrix = _usual_matrix(frame.width, frame.height, primaries)
    if matrix in _UNUSUAL_MATRICES:
        warn(
            f"{name} is coded as {_UNUSUAL_MATRICES[matrix]}, which is not supported. Its planes are converted with "
            "another matrix, so colors may change slightly."
        )
    # HDR video is sited as in UHD TV.
    usual_siting = "topleft" if matrix == 9 and transfer in (16, 18) else "left"
    siting = usual_siting
    if model == "yuv" and known.layout.subsampling != (0, 0):
        siting = _siting_tag(frame, stream) or usual_siting
    return Color(matrix, full, siting, primaries, transfer, tagged)


def _usual_matrix(width: int, height: int, primaries: int) -> int:
    """Return the matrix that players assume for untagged video: BT.709 for high definition, BT.601 below."""
    if primaries == 9:
        return 9
    if height >= 720 or width > 1024:
        return 1
    return 6 if height <= 486 else 5  # same coefficients for 525-line and 625-line television


def _siting_tag(frame: av.VideoFrame, stream: Any) -> str | None:
    location = getattr(frame, "chroma_location", None)  # from PyAV 19 on
    if location is not None:
        return {1: "left", 2: "center", 3: "topleft"}.get(int(location))
    return header_properties(stream).siting


def _has_unreadable_side_data(frame: av.VideoFrame) -> bool:
    """Return True if a frame carries a type that PyAV does not know. PyAV then reads none of them."""
    try:
        return frame.side_data is None
    except ValueError:
        return True


def _entries(frame: av.VideoFrame) -> list[Any]:
    """Return the side data of a frame. Iterating yields entries, in PyAV 19 their types."""
    if _has_unreadable_side_data(frame):
        return []
    side_data = cast(Any, frame.side_data)
    return [entry if hasattr(entry, "type") else side_data[entry] for entry in side_data]


def has_captions(frame: av.VideoFrame) -> bool:
    """Return True if a frame carries closed captions."""
    try:
        return any(entry.type.name == _CAPTIONS for entry in _entries(frame))
    except ValueError:  # PyAV does not know the type
        return False


def side_data(frame: av.VideoFrame) -> tuple[StaticHdr, tuple[int, ...] | None, set[str]]:
    """Return (static HDR metadata, display matrix or None for the identity, names of dynamic metadata) of a frame."""
    mastering = light = matrix = None
    dynamic: set[str] = set()
    try:
        entries = [(data.type.name, bytes(data)) for data in _entries(frame)]
    except ValueError:  # PyAV does not know the type
        entries = []
    for kind, data in entries:
        if kind in _DYNAMIC:
            dynamic.add(_DYNAMIC[kind])
        elif kind == "MASTERING_DISPLAY_METADATA":
            mastering = _mastering(data)
        elif kind == "CONTENT_LIGHT_LEVEL":
            content = struct.unpack_from("=2I", data)
            light = (content[0], content[1]) if any(content) else None
        elif kind == "DISPLAYMATRIX":
            turned = struct.unpack_from("=9i", data)
            matrix = turned if turned != _IDENTITY else None
    if not entries and (degrees := getattr(frame, "rotation", 0)):
        matrix = _rotation_matrix(degrees)
    return StaticHdr(mastering, light), matrix, dynamic


def _rotation_matrix(degrees: float) -> tuple[int, ...]:
    """Return the display matrix of a counterclockwise rotation, as av_display_rotation_get reads it."""
    cosine, sine = (round(65536 * turn(math.radians(degrees))) for turn in (math.cos, math.sin))
    return cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30


def _mastering(data: bytes) -> tuple[tuple[Fraction, Fraction], ...] | None:
    """Parse AVMasteringDisplayMetadata: R, G, B, white as (x, y), min and max luminance, then two flags."""
    numbers = struct.unpack_from("=22i", data)
    *pairs, has_primaries, has_luminance = numbers
    if not (has_primaries and has_luminance) or not all(pairs[1::2]):
        return None
    r_x, r_y, g_x, g_y, b_x, b_y, w_x, w_y, low, high = map(Fraction, pairs[::2], pairs[1::2])
    return (g_x, g_y), (b_x, b_y), (r_x, r_y), (w_x, w_y), (high, low)
