"""Opening a video file, and only that file: what is not one is refused in words, and nothing else is ever opened.

FFmpeg opens URLs, pipes and files that name other files (playlists, concat scripts) as readily as videos. Here a path
is always a local regular file, and demuxers that open other files are not offered.
"""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from .errors import VideoError

MAX_FRAME_SIDE = 16384  # no encoder takes more

# FFmpeg's muxer name -> codecs that the container holds and FFmpeg writes; "auto" takes the first.
CONTAINERS = {
    "mp4": ("h264", "hevc", "av1", "vp9", "ffv1"),
    "mov": ("h264", "hevc", "prores"),
    "matroska": ("h264", "hevc", "av1", "vp9", "prores", "ffv1"),
    "webm": ("vp9", "av1"),
}
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm"}

# Demuxers that open what a file names, that need no video in it (text as a terminal's image), or that run scripts.
_REFUSED_FORMATS = frozenset({
    "hls", "concat", "concatf", "sdp", "rtsp", "rtp", "sap", "dash", "imf", "webm_dash_manifest", "hds", "ffmetadata",
    "image2", "lavfi", "avisynth", "vapoursynth", "tty", "ansi", "data", "svg_pipe", "mpegtsraw", "rawvideo",
})  # fmt: skip
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0\n", b"v=0\r", b"<MPD", b"<?xml", b"[playlist]")


def name_of(source: str | Path | BinaryIO) -> str:
    """What a message calls a source."""
    if isinstance(source, (str, os.PathLike)):
        return str(source)
    name = getattr(source, "name", None)
    return str(name) if isinstance(name, (str, Path)) else "the given file object"


def open_container(source: str | Path | BinaryIO) -> av.container.InputContainer:
    """Open a local video file, or a seekable binary file object, for reading.

    Raises VideoError, one sentence with the name, for what is missing, no regular file, not allowed, empty, damaged at
    its head, a playlist, or no format that FFmpeg knows. Of a file object the position is brought to the start.
    """
    name = name_of(source)
    file: Any
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        head = _head_of_regular_file(path, name)
        file = f"file:{path}"
    else:
        head = _head_of_file_object(source, name)
        file = source
    if not head:
        raise VideoError(f"{name} is empty.")
    if head.lstrip().startswith(_PLAYLISTS):
        raise VideoError(f"{name} is a playlist or a list of other files, not a video; give the video file itself.")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _formats(),
        "max_pixels": str(MAX_FRAME_SIDE**2),
    }
    try:
        return av.open(file, "r", options=options, **metadata_errors("replace"))
    except (av.FFmpegError, OSError, ValueError) as error:
        if b"\0" not in head and head.isascii():
            raise VideoError(f"{name} is a text file, not a video.") from None
        raise VideoError(
            f"{name} cannot be opened as a video: it is damaged, incomplete or of no known format ({reason(error)})."
        ) from error


def metadata_errors(handler: str) -> dict[str, Any]:
    """What `av.open` is told about tags that are no UTF-8; from PyAV 19 on there is nothing to tell."""
    return {"metadata_errors": handler} if int(av.__version__.split(".")[0]) < 19 else {}


def reason(error: BaseException) -> str:
    """What an FFmpeg error says, without the number and the file's name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split(": '")[0].rstrip(".").lower()


@cache
def _formats() -> str:
    return ",".join(sorted(n for n in av.formats_available if not _REFUSED_FORMATS & set(n.split(","))))


def _head_of_regular_file(path: Path, name: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise VideoError(f"{name} is a folder, not a video file.")
        if stat.S_ISFIFO(mode):
            raise VideoError(f"{name} is a pipe; only files that can be read again from the start are taken.")
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name} is no regular file.")
        with open(path, "rb") as file:
            return file.read(256)
    except FileNotFoundError:
        raise VideoError(f"{name} does not exist.") from None
    except NotADirectoryError:
        raise VideoError(f"{name} does not exist: a part of its path is no folder.") from None
    except PermissionError:
        raise VideoError(f"{name} may not be read: permission denied.") from None
    except (OSError, ValueError) as error:  # a name too long, a NUL in it, a disk that fails
        raise VideoError(f"{name} cannot be read: {reason(error)}.") from error


def _head_of_file_object(source: BinaryIO, name: str) -> bytes:
    try:
        source.seek(0)
        head = source.read(256)
        source.seek(0)
    except (AttributeError, OSError, ValueError) as error:
        raise VideoError(f"{name} is no seekable binary file, open for reading: {error}.") from error
    if not isinstance(head, bytes):
        raise VideoError(f"{name} is open as text; a video must be opened in binary mode.")
    return head


def video_stream_of(container: av.container.InputContainer, name: str, number: int | None = None) -> Any:
    """The stream to upscale: no cover art; of the others the one of that number, from 0, or the best.

    The best is the default one before others, then the largest, then the first. Raises VideoError when there is none,
    it cannot be decoded, or it declares absurd dimensions.
    """
    streams = [s for s in container.streams.video if not _is_still(s)]
    if not streams:
        held = "only a cover image" if container.streams.video else "no video"
        held += " and sound" if container.streams.audio and container.streams.video else ""
        held += ", only sound" if container.streams.audio and not container.streams.video else ""
        raise VideoError(f"{name} holds {held}.")
    if number is not None and number >= len(streams):
        raise VideoError(f"{name} has no video stream {number}; the last is {len(streams) - 1}.")
    if number is not None:
        streams = [streams[number]]
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise VideoError(f"{name} holds video of a codec that this build of FFmpeg cannot decode.")

    def rank(stream: Any) -> tuple[bool, int, int]:
        context = stream.codec_context
        return bool(stream.disposition & Disposition.default), context.width * context.height, -stream.index

    best = max(decodable, key=rank)
    check_dimensions(best.codec_context.width, best.codec_context.height, name)
    return best


def _is_still(stream: Any) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def check_dimensions(width: int, height: int, name: str) -> None:
    """Raise VideoError for frames larger than any memory is meant for."""
    if max(width, height) > MAX_FRAME_SIDE:
        raise VideoError(
            f"{name} declares frames of {width}x{height}; more than {MAX_FRAME_SIDE} pixels a side is not taken."
        )
