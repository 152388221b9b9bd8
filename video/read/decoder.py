"""Decode the frames of one video stream, from a seek position to its end.

Packets that FFmpeg cannot decode are counted and skipped. Timestamps, color and planes are left to other modules.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av

from ..broadcast import open_file
from ..clock import Clock
from ..container import StreamChoice, name_of, video_stream_of
from ..encryption import refuse_encrypted_packet, refuse_encrypted_stream, refuse_scrambled_broadcast
from ..errors import VideoError, reason
from ..frames import ReadReport

# The native VP8 and VP9 decoders drop alpha.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

# Demuxers of containers without a tag for the color range.
_NO_COLOR_TAGS = re.compile(r"^(h264|hevc|mpegts|mpeg|avi|flv)$")

_MAX_CONSECUTIVE_READ_ERRORS = 20

# Seeks that are tried in this order to find a key frame before a time; then decoding starts at the file's start.
_SECONDS_BEFORE = (Fraction(0), Fraction(2), Fraction(15))


class Decoder:
    """Decoder of one video stream of a file.

    `stream` and `container` are PyAV's objects. They change when the decoder has to reopen the file, as does `clock`.
    Times of frames are those of `clock`.

    Raises:
        VideoError: as `open_container` and `video_stream_of` do.
    """

    container: Any
    stream: Any
    clock: Clock

    def __init__(
        self,
        source: str | Path | BinaryIO,
        report: ReadReport,
        warn: Callable[[str], None],
        choice: StreamChoice = None,
    ) -> None:
        self.name = name_of(source)
        self._choice = choice
        self.source = source
        self._report = report
        self._warn = warn
        self._frames: Iterator[av.VideoFrame] | None = None
        try:
            self._open(frame_threads=True)
        except VideoError:
            refuse_scrambled_broadcast(source, self.name)
            raise

    def _open(self, *, frame_threads: bool) -> None:
        source = self.source
        given = source if isinstance(source, (str, Path)) else _Unclosed(source)
        opened = open_file(given)  # type: ignore[arg-type]
        self.container = opened.container
        try:
            self.stream = video_stream_of(self.container, self.name, self._choice)
            refuse_encrypted_stream(self.stream, self.name)
            context = self.stream.codec_context
            alpha = {key.lower(): value for key, value in self.stream.metadata.items()}.get("alpha_mode") == "1"
            if alpha and (decoder := _ALPHA_DECODERS.get(self.stream.codec_context.name)):
                with contextlib.suppress(ValueError, av.FFmpegError):  # a build without libvpx decodes without alpha
                    context = av.CodecContext.create(decoder, "r")
            if _NO_COLOR_TAGS.match(self.container.format.name):
                context.color_range = 0  # probing took it from any later frame, and decoders keep it for untagged ones
            context.thread_type = "AUTO" if frame_threads else "NONE"
            if not frame_threads:
                context.thread_count = 1
            self._context = context
            self.clock = Clock(opened, self.stream.index)
            self._last_dts = -1
            self._by_decoding_time = _has_decoding_times_only(self.container.format.name, self.stream.codec.name)
        except BaseException:
            self.container.close()
            raise

    def missing_frames(self, decoded: int) -> int:
        """Return how many frames the file declares beyond those decoded; 0 if it declares nothing reliable."""
        name = self.container.format.name
        if name.startswith("mov"):
            # An edit list hides frames: those that others need are decoded and discarded, others are not in the index.
            entries = self.stream.index_entries
            hidden = sum(entry.is_discard for entry in entries)
            return max(0, min(self.stream.frames, len(entries)) - hidden - decoded)
        if name == "avi":  # a tick is a frame; there are more ticks than packets, because a frame may be repeated
            missing = self.stream.frames - 1 - self._last_dts
            return missing if missing > 1 else 0  # the last may be held by the encoder
        return 0

    def frames(self) -> Iterator[av.VideoFrame]:
        """Iterate over all frames from the current position, in presentation order. `seek` starts a new iterator."""
        if self._frames is None:
            self._frames = self._decode(first_after=None, count=True)
        return self._frames

    def _decode(self, first_after: int | None, count: bool, start: int | None = None) -> Iterator[av.VideoFrame]:
        """Decode all packets, from the key frame at `start` on.

        Drop frames with pts <= `first_after`, and do not count errors before it again.
        """
        last: int | None = first_after
        for packet in self._packets():
            refuse_encrypted_packet(packet, self.name)
            if start is not None:
                if not packet.is_keyframe or (packet.pts if packet.pts is not None else packet.dts) != start:
                    continue
                start = None
            time = packet.pts
            self._last_dts = packet.dts if packet.dts is not None else self._last_dts
            if self._by_decoding_time:
                packet.pts = None
            try:
                decoded = self._context.decode(packet)
            except MemoryError:
                raise
            except (av.FFmpegError, OSError, ValueError) as error:
                if first_after is None or time is None or time > first_after:
                    self._undecodable(error)
                continue
            for frame in decoded:
                if self._by_decoding_time:
                    frame.pts = frame.dts
                if first_after is not None and (frame.pts is None or frame.pts <= first_after):
                    continue
                last = frame.pts
                yield frame
        try:
            rest = self._context.decode(None)
        except EOFError:
            rest = []
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            # With frame threads, one damaged packet among the last makes FFmpeg drop all frames in flight.
            if not count or last is None:
                self._undecodable(error)
                return
            self._reopen_at(last)
            yield from self._decode(first_after=last, count=False)
            return
        if self._by_decoding_time and last is not None:
            for number, frame in enumerate(rest, 1):  # a tick of AVI is a frame
                frame.pts = last + number
        yield from (f for f in rest if first_after is None or f.pts is None or f.pts > first_after)

    def _packets(self) -> Iterator[Any]:
        """Yield packets with data. An empty packet in mid-stream repeats a frame; decoding it would flush."""
        failed = 0
        clock, index = self.clock, self.stream.index
        streams = clock.clocked_streams() if clock.follows_jumps else self.stream
        while True:
            try:
                for packet in self.container.demux(streams):
                    failed = 0
                    if packet.size:
                        yield from (ready for ready in clock.feed(packet) if ready.stream_index == index)
                break
            except IndexError:  # PyAV at the end of a file with streams that appeared late
                break
            except (av.FFmpegError, OSError) as error:
                failed += 1
                self._undecodable(error)
                if failed >= _MAX_CONSECUTIVE_READ_ERRORS:
                    break
        yield from (ready for ready in clock.flush() if ready.stream_index == index)

    def _undecodable(self, error: BaseException) -> None:
        self._report.undecodable_packets += 1
        if self._report.undecodable_packets == 1:
            self._warn(
                f"{self.name} is damaged: {reason(error)}. Frames that can be decoded are kept at their own times."
            )

    def seek(self, pts: int) -> None:
        """Continue at the last key frame at or before `pts`: `frames` returns that key frame next.

        Frames that precede it and refer to packets that were not read are dropped.
        """
        if self.clock.follows_jumps:
            self._seek_by_reading(pts)
            return
        second = 1 / Fraction(self.stream.time_base)
        base = self.clock.ticks(Fraction(self.stream.time_base))
        for back in _SECONDS_BEFORE:
            try:
                self.container.seek(int(pts + base - back * second), stream=self.stream)
            except (av.FFmpegError, OSError, ValueError):
                break
            self._context.flush_buffers()
            frames = self._decode(first_after=None, count=True)
            for frame in frames:
                if frame.pts is None or frame.pts > pts:
                    break  # the index is wrong, or frames are reordered
                if frame.key_frame:
                    self._frames = _chain(frame, frames)
                    return
        self._reopen(frame_threads=True)
        self._frames = None

    def _seek_by_reading(self, pts: int) -> None:
        """Seek in a file whose clock may jump, where an index by time does not help."""
        self._reopen(frame_threads=True)
        start = None
        for packet in self._packets():
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and time is not None and time <= pts:
                start = time
            if packet.dts is not None and packet.dts > pts:
                break
        self._reopen(frame_threads=True)
        self._frames = None
        if start is not None:
            frames = self._decode(first_after=None, count=True, start=start)
            for frame in frames:
                if frame.pts is None or frame.pts > pts or not frame.key_frame:
                    break
                self._frames = _chain(frame, frames)
                return
            self._reopen(frame_threads=True)

    def _reopen(self, *, frame_threads: bool) -> None:
        self.close()
        self._open(frame_threads=frame_threads)

    def _reopen_at(self, pts: int) -> None:
        self._reopen(frame_threads=False)
        if self.clock.follows_jumps:
            return  # decode from the start: `first_after` drops what was returned
        with contextlib.suppress(av.FFmpegError, OSError, ValueError):
            self.container.seek(pts + self.clock.ticks(Fraction(self.stream.time_base)), stream=self.stream)

    def close(self) -> None:
        if self._frames is not None:
            with contextlib.suppress(ValueError):  # `_reopen_at` is called from inside it
                self._frames.close()  # type: ignore[attr-defined]
        self.container.close()


def _has_decoding_times_only(format: str, codec: str) -> bool:
    """Return True for AVI and OGM. FFmpeg guesses presentation times there, wrongly where frames are reordered."""
    return format == "avi" or (format == "ogg" and codec.startswith(("mpeg", "h264", "msmpeg")))


def _chain(first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    yield first
    yield from rest


class _Unclosed:
    """A view of a file object without `close`, so that PyAV leaves it open."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.name = name_of(file)


def first_frame(decoder: Decoder) -> av.VideoFrame:
    """Return the first frame. Raises VideoError if none can be decoded."""
    frame = next(decoder.frames(), None)
    if frame is None:
        refuse_scrambled_broadcast(decoder.source, decoder.name)
        raise VideoError(f"{decoder.name} contains a video stream, but none of its frames can be decoded.")
    return frame
