"""Prepare the packets of one stream for another file: trim, shift, and repair times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.stream import Disposition

from ..frames import Span
from .audio import AudioConverter
from .rules import codec_name, described
from .subtitles import SubtitleConverter

_AMR_SIZES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)  # bytes of a frame, by its mode

# By the sync word that begins each packet of a broadcast.
_SYNCED_CODECS = {
    "mp1": "MPEG audio", "mp2": "MPEG audio", "mp3": "MPEG audio", "aac": "AAC", "ac3": "AC-3", "eac3": "AC-3"
}  # fmt: skip

TimedPacket = tuple[Fraction, av.Packet]  # (dts in seconds, packet of a stream of the output)


class CopiedStream:
    """Turns packets of `source` into packets of `target`: unchanged, or converted by `convert`."""

    def __init__(
        self,
        source: Any,
        target: Any,
        convert: AudioConverter | SubtitleConverter | None,
        span: Span,
        shift: Fraction,
        warn: Callable[[str], None],
    ) -> None:
        """span, shift: as `StreamCopier` takes them."""
        self.source = source
        self.target, self._convert, self._warn = target, convert, warn
        base = self._base = Fraction(source.time_base)
        self._shift = round(shift / base)
        self._start = None if span.start is None else -(-span.start // base)  # the first tick in the span
        self._end = None if span.end is None else -(-span.end // base)
        # FFmpeg's MOV muxer takes single frames of AMR only; files have several in a packet.
        self._splits = codec_name(source) == "amr_nb" and convert is None
        self._fills_gaps = codec_name(source) == "mov_text"
        self._is_cover = bool(source.disposition & Disposition.attached_pic)
        self._waiting: list[av.Packet] = []  # without dts, until one is known
        self._brief: av.Packet | None = None  # audio without duration, until the next packet
        self._last_gap = 0
        self._last_dts: int | None = None
        self._last_tick: int | None = None  # dts in the time base of the target
        self._begun = span.start is None or source.type != "video"
        self._samples = _samples_of(source) if convert is None else 0
        self._clock: int | None = None  # dts of the next packet, in samples

    def take(self, packet: av.Packet) -> Iterator[TimedPacket]:
        """Yield the packets that one packet of the source becomes."""
        if packet.has_sidedata("new_extradata"):
            packet = self._without_repeated_header(packet)
        if self._is_cover:
            packet.pts = packet.dts = 0
        elif not self._inside(packet) or self._is_gap(packet):
            return
        else:
            packet.pts = packet.pts if packet.pts is None else packet.pts - self._shift
            packet.dts = packet.dts if packet.dts is None else packet.dts - self._shift
        if self._convert is not None:
            yield from self._timed(self._convert.packets(packet))
        else:
            for single in _single_frames(packet) if self._splits else [packet]:
                yield from self._timed([self._in_samples(p) for p in self._lasting(self._in_decoding_time(single))])

    def flush(self) -> Iterator[TimedPacket]:
        """Yield the packets that are left after the last one of the source."""
        if isinstance(self._convert, AudioConverter):
            yield from self._timed(self._convert.packets(None))
        if self._brief is not None:
            self._brief.duration = self._samples or self._last_gap
            yield from self._timed([self._in_samples(self._brief)])
        waiting, self._waiting = self._waiting, []
        for packet in waiting:  # a short stream without any dts
            packet.dts = packet.pts if self._last_dts is None else self._last_dts + 1
        yield from self._timed(waiting)

    def _timed(self, packets: list[av.Packet]) -> Iterator[TimedPacket]:
        for packet in packets:
            packet.stream = self.target
            if packet.dts is None:
                packet.dts = packet.pts if packet.pts is not None else (self._last_dts or 0) + 1
            self._raise_time(packet)
            self._last_dts = packet.dts
            yield packet.dts * Fraction(packet.time_base), packet

    def _raise_time(self, packet: av.Packet) -> None:
        """Raise a dts that does not rise in the ticks of the target, as in damaged files: muxers refuse it."""
        assert packet.dts is not None
        tick, base = Fraction(self.target.time_base), Fraction(packet.time_base)
        ticks = math.floor(packet.dts * base / tick + Fraction(1, 2))
        if self._last_tick is not None and ticks <= self._last_tick and self.target.type != "subtitle":
            ticks = self._last_tick + 1
            pts = ticks if packet.pts is None else max(ticks, round(packet.pts * base / tick))
            packet.duration = round((packet.duration or 0) * base / tick)
            packet.dts, packet.pts, packet.time_base = ticks, pts, tick
        self._last_tick = ticks

    def _in_decoding_time(self, packet: av.Packet) -> list[av.Packet]:
        """Add missing dts: the first packets of streams with B-frames have none in Matroska."""
        if packet.dts is None:
            if self.source.type == "video":
                self._waiting.append(packet)
                return []
            packet.dts = packet.pts if packet.pts is not None else (self._last_dts or 0) + (packet.duration or 0)
        if packet.pts is None:
            packet.pts = packet.dts
        waiting, self._waiting = self._waiting, []
        for number, earlier in enumerate(reversed(waiting), 1):
            earlier.dts = packet.dts - number * max(1, packet.duration or 1)
        return [*waiting, packet]

    def _lasting(self, packets: list[av.Packet]) -> list[av.Packet]:
        """Add missing durations of audio packets: MP4 drops a last packet without one."""
        if self.source.type != "audio":
            return packets
        ready = []
        for packet in packets:
            if self._brief is not None:
                assert packet.dts is not None
                assert self._brief.dts is not None
                self._last_gap = self._brief.duration = max(0, packet.dts - self._brief.dts)
                ready.append(self._brief)
                self._brief = None
            if packet.duration:
                ready.append(packet)
            else:
                self._brief = packet
        return ready

    def _without_repeated_header(self, packet: av.Packet) -> av.Packet:
        """Return a packet that does not announce the codec's header again, as joined files do.

        FFmpeg's Matroska muxer would write all tracks a second time.
        """
        context = self.source.codec_context
        if context is None or bytes(packet.get_sidedata("new_extradata")) != bytes(context.extradata or b""):
            return packet
        bare = av.Packet(bytes(packet))
        bare.pts, bare.dts, bare.duration, bare.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        bare.is_keyframe = packet.is_keyframe
        return bare

    def _is_gap(self, packet: av.Packet) -> bool:
        """Return True for an empty text that fills a gap in MP4; the muxer makes those itself."""
        return self._fills_gaps and packet.size == 2 and bytes(packet) == b"\0\0"

    def _in_samples(self, packet: av.Packet) -> av.Packet:
        """Convert the times of audio from milliseconds, as in Matroska, to samples.

        Packets have a known number of samples, so each starts where the previous one ends, unless the file's time
        differs by more than its rounding.
        """
        if self._samples:
            assert packet.dts is not None
            rate = self.source.codec_context.sample_rate
            tick, time = self._base * rate, packet.dts * self._base * rate  # in samples
            # A negative time at the start is the encoder's delay, mostly one packet.
            expected = self._clock if self._clock is not None else -self._samples if time < 0 else round(time)
            clock = expected if abs(time - expected) <= tick else round(time)
            packet.time_base = Fraction(1, rate)
            packet.pts = packet.dts = clock
            packet.duration = self._samples
            self._clock = clock + self._samples
        return packet

    def _inside(self, packet: av.Packet) -> bool:
        """Return True if the packet belongs to the span. A subtitle that overlaps it is trimmed to it."""
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or (self._start is None and self._end is None):
            return True
        if self.source.type == "video":
            if not self._begun and packet.is_keyframe and time >= (self._start or 0):
                self._begun = True
                if (late := (time - (self._start or 0)) * self._base) > Fraction(1, 10):
                    self._warn(f"{described(self.source)} starts {float(late):.2f} s late, at its first key frame.")
            decoded = packet.dts if packet.dts is not None else time
            return self._begun and (self._end is None or decoded < self._end)
        if self._end is not None and time >= self._end:
            return False
        if self._start is None or time >= self._start:
            return self._cut(packet, time)
        if self.source.type == "subtitle" and time + (packet.duration or 0) > self._start:
            packet.duration = time + (packet.duration or 0) - self._start
            packet.pts = packet.dts = self._start
            return self._cut(packet, self._start)
        return False

    def _cut(self, packet: av.Packet, time: int) -> bool:
        if self.source.type == "subtitle" and self._end is not None and packet.duration:
            packet.duration = min(packet.duration, self._end - time)
        return True


def other_codec(packet: av.Packet, codec: str) -> str | None:
    """Return the codec of a packet of sound in a broadcast if its sync word is not that of `codec`, FFmpeg's name."""
    head = bytes(memoryview(packet)[:2])
    expected, actual = _SYNCED_CODECS.get(codec), None
    if head == b"\x0b\x77":
        actual = "AC-3"
    elif len(head) == 2 and head[0] == 0xFF and head[1] >= 0xE0:
        layer = head[1] >> 1 & 3
        actual = "MPEG audio" if layer else "AAC" if head[1] >= 0xF0 else None
    return actual if expected and actual != expected else None


def _single_frames(packet: av.Packet) -> list[av.Packet]:
    """Split a packet of AMR into its frames of 20 ms."""
    data = bytes(packet)
    frames: list[av.Packet] = []
    base = Fraction(packet.time_base)
    start = packet.dts if packet.dts is not None else packet.pts
    while data:
        size = _AMR_SIZES[data[0] >> 3 & 15]
        frame = av.Packet(data[:size])
        frame.time_base, frame.is_keyframe, frame.duration = base, True, round(Fraction(1, 50) / base)
        if start is not None:
            frame.pts = frame.dts = start + round(len(frames) * Fraction(1, 50) / base)
        frames.append(frame)
        data = data[size:]
    return frames


def _samples_of(stream: Any) -> int:
    """Return the samples per packet of audio whose times are coarser than samples; 0 if there is nothing to refine."""
    if stream.type != "audio" or stream.codec_context is None or not stream.codec_context.sample_rate:
        return 0
    if Fraction(stream.time_base) <= Fraction(1, stream.codec_context.sample_rate):
        return 0
    fixed = {"aac": 1024, "mp3": 1152, "mp2": 1152, "ac3": 1536, "eac3": 1536, "alac": 4096}
    samples = stream.codec_context.frame_size
    return samples if samples and samples == fixed.get(codec_name(stream)) else 0
