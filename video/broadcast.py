"""Open a file with all its streams known, also those that appear late or change their numbers, and all joined files.

Broadcast formats (MPEG-TS, MPEG-PS) have no header that lists the streams, and PyAV does not return packets of a stream
that FFmpeg had not met when the file was opened. So short windows of the file are looked at first. If one has a stream
that the head has not, FFmpeg is given these windows before the whole file, and then moved to the start of the file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av

from .container import PROBED_BYTES, PROBED_MICROSECONDS, is_broadcast, metadata_errors, open_container
from .joined import JoinedFlv, JoinedMatroska, files_after_the_first
from .matroska import segment_sizes

_WINDOWS = 8
_MAX_WINDOW_BYTES = 2**20
_MIN_WINDOW_BYTES = 2**12


@dataclass
class OpenedFile:
    """An open container and what is known about its streams beyond it.

    Attributes:
        start: time in seconds at which the first stream starts on the file's clock.
        may_jump: True if the file's clock may start anew on the way.
        is_spliced: True if the container was opened with windows before the file, so that the start times and
            durations that it declares are wrong.
        continues: index of a stream -> index of the stream that it continues after a change of numbers.
        last_packets: by the earlier index, packets before such a change. FFmpeg returns the very last at the end of
            the file only.
        later_files: how many files were joined to this one without being read.
    """

    container: Any
    start: Fraction
    may_jump: bool = False
    is_spliced: bool = False
    continues: dict[int, int] = field(default_factory=dict)
    last_packets: dict[int, list[av.Packet]] = field(default_factory=dict)
    later_files: int = 0


def open_file(source: str | Path | BinaryIO) -> OpenedFile:
    """Open a local video file, or a seekable binary file object. Raises VideoError as `open_container` does."""
    container = open_container(source)
    start = _start_of(container)
    if is_broadcast(container):
        with suppress(av.FFmpegError, OSError, ValueError):  # opened without its late streams
            if (spliced := _with_late_streams(source, container)) is not None:
                opened = OpenedFile(spliced, start, True, True, *_continued(source, spliced))
                container.close()
                return opened
        return OpenedFile(container, start, may_jump=True)
    if container.format.name == "flv":
        container.close()
        return OpenedFile(open_container(cast(BinaryIO, JoinedFlv(source))), start, may_jump=True)
    if container.format.name.startswith("matroska"):
        with _reading(source) as file:
            sizes, is_live = segment_sizes(file)
        if len(sizes) > 1:
            container.close()
            container = open_container(cast(BinaryIO, JoinedMatroska(source, sizes)))
        return OpenedFile(container, start, may_jump=is_live or len(sizes) > 1)
    if container.format.name == "asf" or container.format.name.startswith("mov"):
        with _reading(source) as file:
            return OpenedFile(container, start, later_files=files_after_the_first(file, container.format.name))
    return OpenedFile(container, start)


def _start_of(container: Any) -> Fraction:
    starts = [
        stream.start_time * Fraction(stream.time_base)
        for stream in container.streams
        if stream.type in ("audio", "video") and stream.start_time is not None
    ]
    return min(starts, default=Fraction(0))


def _with_late_streams(source: str | Path | BinaryIO, container: Any) -> Any | None:
    """Reopen a file so that the streams of all windows are known; None if `container` knows them."""
    format = container.format.name
    known = {stream.id for stream in container.streams if _is_complete(stream)}
    wanted = set(known)
    head, *others = _windows(source)
    late = []
    for window in others:
        if not (found := _ids_in(window, format)) <= wanted:
            late.append(window)
            wanted |= found
    length = len(head) if late else 0
    while length > _MIN_WINDOW_BYTES:
        # FFmpeg stops looking as soon as it knows the streams that it has met, so the head must not be too long.
        for head_length in (length, length // 8):
            prefix = head[:head_length] + b"".join(window[:length] for window in late)
            options = {"probesize": str(len(prefix) + PROBED_BYTES), "analyzeduration": str(PROBED_MICROSECONDS)}
            spliced = av.open(
                _Spliced(prefix, source), "r", format=format, options=options, **metadata_errors("replace")
            )
            if wanted <= {stream.id for stream in spliced.streams if _is_complete(stream)}:
                spliced.seek(len(prefix), unsupported_byte_offset=True)
                return spliced
            spliced.close()
        length //= 2
    return None


def _continued(source: str | Path | BinaryIO, container: Any) -> tuple[dict[int, int], dict[int, list[av.Packet]]]:
    """Return (`continues`, `last_packets`) of an OpenedFile."""
    format = container.format.name
    seen: dict[int, list[int]] = {}  # id -> numbers of the windows that have it
    for number, window in enumerate(_windows(source)):
        for found in _ids_in(window, format):
            seen.setdefault(found, []).append(number)
    pairs: dict[int, int] = {}
    ended = []
    for kind in ("video", "audio"):
        streams = [stream for stream in container.streams if stream.type == kind and stream.id in seen]
        ends: list[Any] = []  # the last stream of each chain
        for stream in sorted(streams, key=lambda stream: seen[stream.id][0]):
            begins = seen[stream.id][0]
            for number, earlier in enumerate(ends):
                if seen[earlier.id][0] < begins >= seen[earlier.id][-1] and _is_same_format(earlier, stream):
                    pairs[stream.index] = pairs.get(earlier.index, earlier.index)
                    ended.append(earlier)
                    ends[number] = stream
                    break
            else:
                ends.append(stream)
    return pairs, {stream.index: _last_packets(source, format, stream.id) for stream in ended}


def _last_packets(source: str | Path | BinaryIO, format: str, id: int) -> list[av.Packet]:
    """Find where a stream ends, by bisection, and return its last packets."""
    with _reading(source) as file:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        length = min(_MAX_WINDOW_BYTES, max(1, size // _WINDOWS))

        def window(position: int, count: int) -> bytes:
            file.seek(max(0, position))
            return file.read(count)

        low, high = 0, size - length
        while high - low > length // 4:
            middle = (low + high) // 2
            low, high = (middle, high) if id in _ids_in(window(middle, length), format) else (low, middle)
        data = window(low - length, 4 * length)
    with av.open(io.BytesIO(data), "r", format=format, **metadata_errors("replace")) as container:
        return [packet for packet in container.demux() if packet.size and packet.stream.id == id]


def _is_same_format(stream: Any, other: Any) -> bool:
    ours, theirs = stream.codec_context, other.codec_context
    if ours is None or theirs is None or ours.codec.name != theirs.codec.name:
        return False
    return stream.type == "video" or (ours.sample_rate, ours.channels) == (theirs.sample_rate, theirs.channels)


def _is_complete(stream: Any) -> bool:
    return stream.type != "audio" or (stream.codec_context is not None and bool(stream.codec_context.sample_rate))


def _ids_in(window: bytes, format: str) -> set[int]:
    try:
        with av.open(io.BytesIO(window), "r", format=format, **metadata_errors("replace")) as container:
            return {stream.id for stream in container.streams if _is_complete(stream)}
    except (av.FFmpegError, OSError, ValueError):
        return set()


def _windows(source: str | Path | BinaryIO) -> Iterator[bytes]:
    """Yield the head of a file, windows at equal distances, and its end."""
    with _reading(source) as file:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        length = min(_MAX_WINDOW_BYTES, max(1, size // _WINDOWS))
        for number in range(_WINDOWS + 1):
            file.seek((size - length) * number // _WINDOWS)
            yield file.read(length)


@contextmanager
def _reading(source: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open a path; of a file object, keep the position, where an open container reads on."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield file
    else:
        position = source.tell()
        try:
            yield source
        finally:
            source.seek(position)


class _Spliced(io.RawIOBase):
    """A read-only file: a prefix, then a whole file."""

    def __init__(self, prefix: bytes, source: str | Path | BinaryIO) -> None:
        super().__init__()
        self._owns = isinstance(source, (str, os.PathLike))
        self._file = io.FileIO(source) if isinstance(source, (str, os.PathLike)) else source
        self._prefix, self._position = prefix, 0
        self._file.seek(0, os.SEEK_END)
        self._size = len(prefix) + self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = self._size - self._position if size < 0 else size
        if self._position < len(self._prefix):
            data = self._prefix[self._position : self._position + size]
        else:
            self._file.seek(self._position - len(self._prefix))
            data = self._file.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if self._owns and not self.closed:
            self._file.close()
        super().close()
