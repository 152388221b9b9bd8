"""Which encoders and decoders of this PyAV can be opened on this machine."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import cast

import av

from .priority import not_in_real_time
from .write.encoders import HARDWARE, SOFTWARE, formats_of

DECODERS = (
    *("h264", "hevc", "av1", "libdav1d", "vp9", "vp8", "mpeg4", "mpeg2video", "prores", "ffv1", "mjpeg", "dnxhd"),
    *("vc1", "theora", "webp", "gif"),
)
"""Those of files that people have."""


def encoders() -> dict[str, str]:
    """Return FFmpeg's name of each encoder that videos are written with -> why it cannot be opened; "" if it can."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to stderr
    return {name: _problem(name) for name in (*SOFTWARE.values(), *HARDWARE)}


def decoders() -> dict[str, str]:
    """Return the name of each of DECODERS -> why it is not there; "" if it is."""
    found = {}
    for name in DECODERS:
        try:
            av.codec.Codec(name, "r")
            found[name] = ""
        except (av.error.FFmpegError, ValueError) as error:
            found[name] = str(error)
    return found


def _problem(encoder: str) -> str:
    try:
        context = cast("av.VideoCodecContext", av.CodecContext.create(encoder, "w"))
        context.width = context.height = 256
        context.pix_fmt = next(iter(formats_of(encoder)))
        context.time_base = Fraction(1, 25)
        if encoder == "libx265":
            context.options = {"x265-params": "log-level=error"}  # it writes to stderr
        with not_in_real_time():
            context.open()
    except (av.error.FFmpegError, OSError, ValueError, StopIteration) as error:
        return str(getattr(error, "strerror", None) or error) or "it takes no format that is known here"
    return ""
