"""Open a local video file and nothing else, and know what each container holds.

FFmpeg also opens URLs, pipes, and files that name other files (playlists, concat scripts). Here a path is always a
local regular file, and demuxers that open other files are disabled.
"""

from __future__ import annotations

import os
import stat
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
from av.stream import Disposition

from .errors import VideoError, reason

StreamChoice = int | Literal["first"] | None
"""Which of a file's `video_streams`: its number, from 0; None: the largest of those marked as default, or of all if
none is; "first": the first of those marked as default, or of all if none is."""

MAX_FRAME_SIDE = 16384  # no encoder takes more

# In broadcast formats streams may appear anywhere; those that begin within so many bytes are known on opening.
PROBED_BYTES = 64 * 2**20
PROBED_MICROSECONDS = 3600 * 10**6

# FFmpeg's muxer name -> codecs that the container holds and FFmpeg writes; "auto" takes the first.
CONTAINERS = {
    "mp4": ("h264", "hevc", "av1", "vp9", "ffv1"),
    "mov": ("h264", "hevc", "prores"),
    "matroska": ("h264", "hevc", "av1", "vp9", "prores", "ffv1"),
    "webm": ("vp9", "av1"),
}
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm"}

# Demuxers that open files named in the input, that take any data as video (text as a terminal screen), or run scripts.
_REFUSED_FORMATS = frozenset({
    "hls", "concat", "concatf", "sdp", "rtsp", "rtp", "sap", "dash", "imf", "webm_dash_manifest", "hds", "ffmetadata",
    "image2", "lavfi", "avisynth", "vapoursynth", "tty", "ansi", "data", "svg_pipe", "mpegtsraw", "rawvideo",
})  # fmt: skip
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0\n", b"v=0\r", b"<MPD", b"<?xml", b"[playlist]")


def name_of(source: str | Path | BinaryIO) -> str:
    """Return the name of a source for messages."""
    if isinstance(source, (str, os.PathLike)):
        return str(source)
    name = getattr(source, "name", None)
    return str(name) if isinstance(name, (str, Path)) else "the given file object"


def open_container(source: str | Path | BinaryIO) -> av.container.InputContainer:
    """Open a local video file, or a seekable binary file object, for reading.

    A file object is read from its start, whatever its position.

    Raises:
        VideoError: the file is missing, not a regular file, unreadable, empty, damaged at its head, a playlist, or of
            a format that FFmpeg does not know. The message is one sentence with the name.
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
        raise VideoError(f"{name} is a playlist or a list of files, not a video. Pass the video file itself.")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _formats(),
        "max_pixels": str(MAX_FRAME_SIDE**2),
    }
    try:
        container = av.open(file, "r", options=options, **metadata_errors("replace"))
        if is_broadcast(container):
            container.close()
            if file is source:
                source.seek(0)
            options |= {"probesize": str(PROBED_BYTES), "analyzeduration": str(PROBED_MICROSECONDS)}
            container = av.open(file, "r", options=options, **metadata_errors("replace"))
        return container
    except (av.FFmpegError, OSError, ValueError) as error:
        if b"\0" not in head and head.isascii():
            raise VideoError(f"{name} is a text file, not a video.") from None
        raise VideoError(
            f"{name} cannot be opened as a video. It is damaged, incomplete or in an unknown format ({reason(error)})."
        ) from error


def is_broadcast(container: Any) -> bool:
    """Return True for MPEG-TS and MPEG-PS, in which streams may appear, and the clock may jump, anywhere."""
    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def metadata_errors(handler: str) -> dict[str, Any]:
    """Return the arguments of `av.open` for tags that are not UTF-8; PyAV 19 has none."""
    return {"metadata_errors": handler} if int(av.__version__.split(".")[0]) < 19 else {}


@cache
def _formats() -> str:
    return ",".join(sorted(n for n in av.formats_available if not _REFUSED_FORMATS & set(n.split(","))))


def _head_of_regular_file(path: Path, name: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise VideoError(f"{name} is a folder, not a video file.")
        if stat.S_ISFIFO(mode):
            raise VideoError(f"{name} is a pipe. Pass a regular file, which can be read from its start again.")
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name} is not a regular file.")
        with open(path, "rb") as file:
            return file.read(256)
    except FileNotFoundError:
        raise VideoError(f"{name} does not exist.") from None
    except NotADirectoryError:
        raise VideoError(f"{name} does not exist: its path goes through a file that is not a folder.") from None
    except PermissionError:
        raise VideoError(f"{name} cannot be read: permission denied.") from None
    except (OSError, ValueError) as error:  # the name is too long or contains NUL, or the disk fails
        raise VideoError(f"{name} cannot be read: {reason(error)}.") from error


def _head_of_file_object(source: BinaryIO, name: str) -> bytes:
    try:
        source.seek(0)
        head = source.read(256)
        source.seek(0)
    except (AttributeError, OSError, ValueError) as error:
        raise VideoError(f"{name} is not a seekable binary file that is open for reading: {error}.") from error
    if not isinstance(head, bytes):
        raise VideoError(f"{name} is open in text mode. Open it in binary mode: open(path, 'rb').")
    return head


def video_streams(container: av.container.InputContainer) -> list[Any]:
    """Return the video streams of a file, without cover images and thumbnails."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    return [each for each in container.streams.video if not each.disposition & stills]


def video_stream_of(container: av.container.InputContainer, name: str, choice: StreamChoice = None) -> Any:
    """Return the video stream to upscale.

    Args:
        container: an open file.
        name: of the file, for messages.
        choice: which of `video_streams`.

    Raises:
        VideoError: there is no such stream, it cannot be decoded, or its frames are too large.
    """
    streams = video_streams(container)
    if not streams:
        content = "only a cover image" if container.streams.video else "no video"
        if container.streams.audio:
            content += " and audio" if container.streams.video else ", only audio"
        raise VideoError(f"{name} contains {content}.")
    if isinstance(choice, Integral):
        if choice >= len(streams):
            raise VideoError(f"{name} has no video stream {choice}. Streams are numbered from 0 to {len(streams) - 1}.")
        streams = [streams[int(choice)]]
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise VideoError(f"{name} contains video in a codec that this build of FFmpeg cannot decode.")

    def rank(stream: Any) -> tuple[bool, int, int]:
        context = stream.codec_context
        area = 0 if choice == "first" else context.width * context.height
        return bool(stream.disposition & Disposition.default), area, -stream.index

    best = max(decodable, key=rank)
    check_dimensions(best.codec_context.width, best.codec_context.height, name)
    return best


def check_dimensions(width: int, height: int, name: str) -> None:
    """Raise VideoError for frames with a side of more than MAX_FRAME_SIDE pixels."""
    if max(width, height) > MAX_FRAME_SIDE:
        raise VideoError(
            f"{name} declares frames of {width}x{height} pixels. The limit is {MAX_FRAME_SIDE} pixels per side."
        )
