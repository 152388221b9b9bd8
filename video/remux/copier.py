"""Copy all streams except the upscaled one from the source file into the target.

Audio, subtitles, other video streams, cover images, attachments, data, chapters, tags and dispositions are copied bit
for bit if the container can hold them. Otherwise they are converted or dropped, with a warning.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.stream import Discard, Disposition

from ..broadcast import open_file
from ..clock import Clock
from ..container import is_broadcast
from ..encryption import is_encrypted_packet
from ..errors import reason
from ..frames import Span
from ..matroska import delayed_audio
from .audio import AudioConverter, standard_layout
from .packets import CopiedStream, TimedPacket, other_codec
from .rules import StreamAction, choose_action, codec_name, described
from .subtitles import SubtitleConverter
from .tags import custom_tags, global_tags, stream_tags

_log = logging.getLogger(__name__)
_MAX_LOOK_AHEAD = 64 * 2**20  # bytes
_BAD_PACKET_ERRORS = (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.ArgumentError)
_COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "bmp": ("cover.bmp", "image/bmp")}


class StreamCopier:
    """Reads the other streams of a source, packet by packet, for the writer to interleave with its frames.

    Offsets between streams are kept to the tick of the container.

    Args:
        source: path, or a file object that nothing else moves (see read/shared_file.py). Opened a second time.
        skip_stream_index: the stream that is upscaled; its tags and disposition are copied.
        container: FFmpeg's name of the target's muxer.
        span: seconds on the source's clock; packets that start outside are dropped.
        shift: seconds subtracted from every time.
        warn: called with one sentence for each stream that is converted or dropped.

    Raises:
        VideoError: the source cannot be opened.
    """

    def __init__(
        self,
        source: str | Path | BinaryIO,
        skip_stream_index: int | None,
        container: str,
        *,
        span: Span = Span(),
        shift: Fraction = Fraction(0),
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self._container, self._span, self._shift = container, span, shift
        self._warn = warn
        opened = open_file(source)
        self._input = opened.container
        self._skip = skip_stream_index
        self._clock = Clock(opened, skip_stream_index)
        self._clocked: deque[av.Packet] = deque()
        self._chapters = self._moved_chapters()
        self._tags = global_tags(self._input.metadata)
        self._actions: dict[int, StreamAction] = {}
        for stream in self._input.streams:
            if stream.index in opened.continues:
                self._actions[stream.index] = StreamAction("drop")
            elif stream.index != skip_stream_index:
                action = self._actions[stream.index] = choose_action(stream, container, bool(self._input.chapters()))
                if action.warning:
                    warn(action.warning)
        self._copied: dict[int, CopiedStream] = {}
        self._damaged: set[int] = set()  # indices in the output
        self._left_out: set[tuple[int, str]] = set()  # index in the source, problem
        self._templates: list[av.container.InputContainer] = []
        self._ahead: deque[av.Packet] = deque()
        self._first: dict[int, av.Packet] = {}
        self._look_ahead()
        self._packets: Iterator[TimedPacket] | None = None
        self._pending: TimedPacket | None = None
        self._ended = False

    @property
    def clock_rates(self) -> list[int]:
        """Sample rates of the audio streams that are kept, for the time unit of MP4's edit lists."""
        return [
            stream.codec_context.sample_rate
            for stream in self._input.streams.audio
            if self._actions.get(stream.index, StreamAction("drop")).kind in ("copy", "audio") and stream.codec_context
        ]

    def tags_with(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the global tags of the target: those of the source, overridden by `more`."""
        tags = {**self._tags, **more}
        has_cover = any(
            action.kind == "copy" and self._input.streams[index].disposition & Disposition.attached_pic
            for index, action in self._actions.items()
        )
        if has_cover and (custom := custom_tags(tags, self._container)):
            self._warn(f"Tags {', '.join(custom)} dropped: .mp4 cannot hold custom tags together with a cover image.")
            return {key: value for key, value in tags.items() if key not in custom}
        return tags

    def add_streams(
        self, output: av.container.OutputContainer, add_video: Callable[[], av.VideoStream]
    ) -> av.VideoStream:
        """Add all streams to the output: the upscaled one, added by `add_video`, before other video streams."""
        video: av.VideoStream | None = None
        for stream in self._input.streams:
            if video is None and (stream.index == self._skip or self._is_other_video(stream)):
                video = self._add_upscaled(add_video)
            if stream.index != self._skip:
                self._add(stream, self._actions[stream.index], output)
        if video is None:
            video = add_video()
        output.set_chapters(self._chapters)
        return video

    def _add_upscaled(self, add_video: Callable[[], av.VideoStream]) -> av.VideoStream:
        video = add_video()
        if self._skip is not None:
            stream = self._input.streams[self._skip]
            tags = stream_tags(stream.metadata, self._container)
            title = tags.pop("title", "") + video.metadata.get("title", "")  # the writer may have padded it
            video.metadata.update(tags | ({"title": title} if title else {}))
            video.disposition = stream.disposition
            if any(self._is_other_video(other) for other in self._input.streams):
                video.disposition = stream.disposition | Disposition.default
        return video

    def _is_other_video(self, stream: Any) -> bool:
        """Return True for a copied video stream that players might choose instead of the upscaled one."""
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        is_other = stream.type == "video" and stream.index != self._skip and not stream.disposition & still
        return is_other and self._actions[stream.index].kind != "drop"

    def mux_until(self, output: av.container.OutputContainer, time: Fraction | None) -> None:
        """Mux packets with dts up to `time` in seconds of the target; None: all.

        A packet that the muxer cannot read, as in a broadcast with bad reception, is left out with a warning.
        """
        for packet in self.packets_until(time):
            try:
                output.mux(packet)
            except _BAD_PACKET_ERRORS:
                if packet.stream_index not in self._damaged:
                    self._damaged.add(packet.stream_index)
                    source = next(c.source for c in self._copied.values() if c.target.index == packet.stream_index)
                    self._warn(f"{described(source)} is damaged. Packets that cannot be read are left out.")

    def packets_until(self, time: Fraction | None) -> Iterator[av.Packet]:
        """Yield packets, ready to be muxed, with dts up to `time` in seconds of the target; None: all."""
        if self._packets is None:
            self._packets = self._read()
        while not self._ended:
            if self._pending is None:
                self._pending = next(self._packets, None)
                if self._pending is None:
                    self._ended = True
                    return
            if time is not None and self._pending[0] > time:
                return
            packet = self._pending[1]
            self._pending = None
            yield packet

    def close(self) -> None:
        self._ended = True
        self._packets = self._pending = None
        for container in (self._input, *self._templates):
            container.close()

    def _add(self, stream: Any, action: StreamAction, output: av.container.OutputContainer) -> None:
        """Add one stream to the output; `packets.py` does the rest."""
        if action.kind == "drop":
            return
        if action.kind == "cover":
            self._attach_cover(stream, output)
            return
        convert: AudioConverter | SubtitleConverter | None = None
        if action.kind == "audio":
            convert = AudioConverter(stream, output, action.encoder)
        elif action.kind == "subtitle":
            convert = SubtitleConverter(stream, output, action.encoder)
        copy = convert.stream if convert else self._copy_of(stream, output)
        copy.metadata.clear()
        copy.metadata.update(stream_tags(stream.metadata, self._container))
        if stream.type == "attachment":
            return
        copy.disposition = stream.disposition
        if self._is_other_video(stream):
            copy.disposition = stream.disposition & ~Disposition.default
        if stream.type == "video" and stream.codec_context is not None and stream.sample_aspect_ratio:
            copy.sample_aspect_ratio = stream.sample_aspect_ratio
        self._copied[stream.index] = CopiedStream(stream, copy, convert, self._span, self._shift, self._warn)

    def _attach_cover(self, stream: Any, output: av.container.OutputContainer) -> None:
        """Attach a cover image: in Matroska covers are attachments, written with the header."""
        name, mimetype = _COVERS.get(codec_name(stream), ("cover", "application/octet-stream"))
        tags = stream.metadata
        if (packet := self._first.get(stream.index)) is not None:
            output.add_attachment(tags.get("filename", name), tags.get("mimetype", mimetype), bytes(packet))
        else:
            self._warn(f"{described(stream)} dropped: it contains no image.")

    def _copy_of(self, stream: Any, output: av.container.OutputContainer) -> Any:
        """Add a stream to the output that takes the packets of `stream` unchanged."""
        first = self._first.get(stream.index)
        starts_early = stream.type == "audio" and first is not None and self._span.start is None
        if starts_early and self._container in ("matroska", "webm"):
            # MP4 skips the encoder's priming samples with an edit list, Matroska with a codec delay. Without it, the
            # muxer would move all streams until no time is negative.
            assert first is not None
            delay = float(self._shift - (first.pts or 0) * Fraction(first.time_base))
            if delay > 0 and (made := delayed_audio(codec_name(stream), stream.codec_context, delay)) is not None:
                self._templates.append(made[0])
                return output.add_stream_from_template(made[1], opaque=True)
        copy = output.add_stream_from_template(stream, opaque=True)
        if stream.type == "audio" and (layout := standard_layout(stream.codec_context)) is not None:
            copy.layout = layout
        return copy

    def _look_ahead(self) -> None:
        """Buffer packets until the first one of each audio and video stream and cover image is known.

        Streams that begin with an encrypted packet are dropped.
        """
        wanted = [s for s in self._input.streams if self._actions.get(s.index, StreamAction("drop")).kind != "drop"]
        wanted = [stream for stream in wanted if stream.type != "attachment"]
        read = [*wanted]
        if wanted and self._clock.follows_jumps:
            read += [stream for stream in self._clock.clocked_streams() if stream not in wanted]
        for stream in self._input.streams:
            if stream not in read:
                stream.discard = Discard.all
        self._wanted = {stream.index for stream in wanted}
        self._demuxed = self._input.demux(read) if wanted else iter(())
        missing = {s.index for s in wanted if s.type in ("audio", "video")}
        size = 0
        while missing and size < _MAX_LOOK_AHEAD and (packet := self._next_packet()) is not None:
            self._first.setdefault(packet.stream_index, packet)
            missing.discard(packet.stream_index)
            self._ahead.append(packet)
            size += packet.size
        for index, packet in self._first.items():
            if is_encrypted_packet(packet):
                self._actions[index] = StreamAction("drop")
                self._warn(f"{described(self._input.streams[index])} dropped: it is encrypted.")

    def _next_packet(self) -> av.Packet | None:
        """Return the next packet with data, on the clock of the video; None at the end of the file or at damage."""
        while not self._clocked:
            packet = self._next_demuxed()
            ready = self._clock.flush() if packet is None else self._clock.feed(packet)
            self._clocked += (each for each in ready if each.stream_index in self._wanted)
            if packet is None:
                break
        return self._clocked.popleft() if self._clocked else None

    def _next_demuxed(self) -> av.Packet | None:
        while True:
            try:
                packet = next(self._demuxed, None)
            except IndexError:  # PyAV at the end of a file with streams that appeared late
                packet = None
            except (av.error.FFmpegError, OSError) as error:
                self._warn(
                    f"Audio, subtitles and other streams end early: reading the source failed ({reason(error)})."
                )
                packet = None
            if packet is None:
                self._demuxed = iter(())
                return None
            if packet.size:  # empty packets at the end flush decoders
                return packet

    def _read(self) -> Iterator[TimedPacket]:
        """Yield packets of the output's streams, in the order of the source."""
        while (packet := self._ahead.popleft() if self._ahead else self._next_packet()) is not None:
            if (copied := self._copied.get(packet.stream_index)) is None:
                continue
            if (problem := self._problem_of(packet, copied.source)) is None:
                yield from copied.take(packet)
            elif (packet.stream_index, problem) not in self._left_out:
                self._left_out.add((packet.stream_index, problem))
                self._warn(f"{described(copied.source)} {problem} That part is left out.")
        for copied in self._copied.values():
            yield from copied.flush()

    def _problem_of(self, packet: av.Packet, stream: Any) -> str | None:
        """Return why a packet cannot be copied, in a sentence without its subject; None if it can."""
        if is_encrypted_packet(packet):
            return "is encrypted in part."
        if stream.type == "audio" and is_broadcast(self._input) and (other := other_codec(packet, codec_name(stream))):
            return f"changes to {other} in mid-stream."
        return None

    def _moved_chapters(self) -> list[Any]:
        """Return the chapters of the span, trimmed and shifted."""
        chapters: list[Any] = []
        for chapter in self._input.chapters():
            base = Fraction(chapter["time_base"] or 1)
            start, end = (chapter[side] * base - self._clock.base for side in ("start", "end"))
            if self._span.start is not None:
                start = max(start, self._span.start)
            if self._span.end is not None:
                end = min(end, self._span.end)
            if end <= start and chapter["end"] > chapter["start"]:
                continue
            if self._span == Span() and not self._shift and not self._clock.base:
                chapters.append(chapter)
                continue
            moved = {"start": round((start - self._shift) / base), "end": round((end - self._shift) / base)}
            chapters.append({**chapter, **moved})
        return chapters
