"""The error that a video raises."""

from __future__ import annotations

import errno

from ..errors import SupertileError


class VideoError(SupertileError, ValueError):
    """A video cannot be read, or cannot be written with the given options. The message names the file."""


class NoFrameError(VideoError):
    """A span of a video holds no frame that can be decoded.

    Attributes:
        undecodable_packets: how many packets of the span could not be decoded.
    """

    undecodable_packets = 0


def reason(error: BaseException) -> str:
    """Return the message of an FFmpeg or system error for the middle of a sentence, without number and file name."""
    number = getattr(error, "errno", None)
    if number == errno.ENOSPC:
        return "the disk is full"
    if number == errno.EFBIG:
        return "the file would be larger than the system allows"
    text = str(getattr(error, "strerror", None) or str(error) or type(error).__name__).split(": '")[0].rstrip(".")
    return text[:1].lower() + text[1:]
