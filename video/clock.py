"""Put all packets of a file on one clock, which starts at 0 and runs on where the file's own clock does not.

Broadcasts begin at any time of day. In recordings that were joined byte by byte the clock starts anew, and where a
signal was lost it jumps ahead. All streams of a file are moved by the same offset, so they stay in sync.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from .broadcast import OpenedFile
from .container import is_broadcast

_BACKWARD_SECONDS = Fraction(1, 2)  # smaller steps back are single wrong times
_FORWARD_SECONDS = 2
_MAX_REORDERED_FRAMES = 17
_MATCH_SECONDS = 10  # of the start of one stream after a jump from that of another
_MAX_HELD_PACKETS = 2000
_MAX_KEPT_START_SECONDS = 1
_MAX_TICKS = 2**62


@dataclass
class _Segment:
    """A stretch of the file's clock without a jump. Times are seconds of that clock."""

    start: Fraction
    last: Fraction
    offset: Fraction | None  # added to all times; None until the reference stream has reached the segment


@dataclass
class _Track:
    """The latest times of a stream, in seconds of the file's clock.

    Attributes:
        last, first: dts.
        end: of what is shown.
        step: between the last two packets.
        delay: from dts to pts of the first packet.
    """

    segment: _Segment
    last: Fraction
    end: Fraction
    first: Fraction
    step: Fraction = Fraction(0)
    delay: Fraction = Fraction(0)


@dataclass
class Clock:
    """The clock of an open file, for one pass over its packets.

    Two passes over a file, by two readers, give the same times if both feed all packets of `clocked_streams`.

    Attributes:
        file: the open file.
        reference: index of the stream that continues without a gap after a jump.
        base: seconds on the file's clock that become 0.
        follows_jumps: True for formats in which the clock may jump; others are only moved by `base`.
        jumps: times in seconds, on this clock, at which the file's clock jumped.
    """

    file: OpenedFile
    reference: int | None
    base: Fraction = Fraction(0)
    follows_jumps: bool = False
    jumps: list[Fraction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.follows_jumps = self.file.may_jump
        self._is_broadcast = is_broadcast(self.file.container)
        wrapped = self._is_broadcast and self.file.start < 0  # a clock of 33 bits that ends within the file
        self.base = self.file.start if wrapped or self.file.start > _MAX_KEPT_START_SECONDS else Fraction(0)
        self._numbers: dict[int, list[int]] = {}  # that a stream had, in order
        self._changed: set[int] = set()  # streams that have just got another number
        self._segments: list[_Segment] = []
        self._tracks: dict[int, _Track] = {}
        self._held: list[tuple[av.Packet, _Segment]] = []

    def clocked_streams(self) -> list[Any]:
        """Return the streams that decide about jumps."""
        return [stream for stream in self.file.container.streams if stream.type in ("audio", "video")]

    def feed(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets that are ready, with times of this clock: mostly this one, at a jump none or several."""
        if not self.file.continues:
            return self._fed(packet)
        number = packet.stream_index
        index = self.file.continues.get(number, number)
        numbers = self._numbers.setdefault(index, [number])
        packet.stream = self.file.container.streams[index]
        ready = []
        if number not in numbers:
            ready = [each for last in self._unseen(index, numbers[-1]) for each in self._fed(last)]
            numbers.append(number)
            if index in self._tracks:
                self._changed.add(index)
        elif number != numbers[-1]:
            return []  # among `last_packets`
        return ready + self._fed(packet)

    def _unseen(self, index: int, number: int) -> list[av.Packet]:
        """Return the `last_packets` of a number that the file has not returned yet."""
        if (track := self._tracks.get(index)) is None:
            return []
        packets = self.file.last_packets.get(number, [])
        unseen = [p for p in packets if p.dts is not None and p.dts * Fraction(p.time_base) > track.last]
        for packet in unseen:
            packet.stream = self.file.container.streams[index]
        return unseen

    def _fed(self, packet: av.Packet) -> list[av.Packet]:
        if not self.follows_jumps:
            return [_moved(packet, -self.base)]
        self._replace_stale_dts(packet)
        segment = self._segment_of(packet)
        if not self._held and segment.offset is not None:
            return [_moved(packet, segment.offset)]
        self._held.append((packet, segment))
        return self._release() if len(self._held) > _MAX_HELD_PACKETS else self._released()

    def flush(self) -> list[av.Packet]:
        """Return the packets that are still held, at the end of the file."""
        return self._release()

    def seconds_of_later_video(self) -> Fraction:
        """Return how long another video stream goes on that began after the end of the reference stream."""
        ours = self._tracks.get(self.reference if self.reference is not None else -1)
        streams = self.file.container.streams
        return max(
            (
                track.end - track.first
                for index, track in self._tracks.items()
                if ours is not None
                and streams[index].type == "video"
                and track.first >= max(ours.last - _BACKWARD_SECONDS, ours.first + _BACKWARD_SECONDS)
            ),
            default=Fraction(0),
        )

    def ticks(self, time_base: Fraction) -> int:
        """Return `base` in ticks of a stream."""
        return round(self.base / time_base)

    def _replace_stale_dts(self, packet: av.Packet) -> None:
        """Correct a dts that FFmpeg has counted on from before a jump, as it does in MPEG-PS."""
        track = self._tracks.get(packet.stream_index)
        if track is None or packet.dts is None or packet.pts is None or not self._is_broadcast:
            return
        delay = abs(packet.pts - packet.dts) * Fraction(packet.time_base)
        if delay > max(Fraction(_FORWARD_SECONDS), _MAX_REORDERED_FRAMES * track.step):
            packet.dts = packet.pts

    def _segment_of(self, packet: av.Packet) -> _Segment:
        ticks = packet.dts if packet.dts is not None else packet.pts
        newest = self._segments[-1] if self._segments else None
        if ticks is None:
            self._count_untimed(packet)
            return newest or self._begin(self.base, -self.base)
        time = ticks * Fraction(packet.time_base)
        if newest is None:
            newest = self._begin(time, -self.base)
        if packet.stream.type not in ("audio", "video"):  # sparse, and often ahead of their time
            return self._nearest_segment(time)
        track = self._tracks.get(packet.stream_index)
        if track is None:
            segment = self._nearest_segment(time)
            if segment.offset is None and packet.stream_index == self.reference:
                self._set_offset(segment, time, self._end())
            track = _Track(segment, time, time, time, delay=_delay(packet))
            self._tracks[packet.stream_index] = track
        elif packet.stream_index in self._changed or self._jumps(track, time):
            self._changed.discard(packet.stream_index)
            track.segment = self._next_segment(track, time, packet)
            track.end = time
        elif time > track.last:
            track.step = time - track.last
        segment = track.segment
        track.last, segment.last = time, max(segment.last, time)
        shown = time + _delay(packet)
        duration = packet.duration * Fraction(packet.time_base) if packet.duration else track.step
        track.end = max(track.end, shown + duration)
        return segment

    def _count_untimed(self, packet: av.Packet) -> None:
        """Let a packet without times, as in MPEG-PS, follow the previous one."""
        if (track := self._tracks.get(packet.stream_index)) is not None and packet.duration:
            duration = packet.duration * Fraction(packet.time_base)
            track.last += duration
            track.end = max(track.end, track.last + track.delay + duration)

    def _nearest_segment(self, time: Fraction) -> _Segment:
        return min(reversed(self._segments), key=lambda segment: abs(time - segment.last))

    def _jumps(self, track: _Track, time: Fraction) -> bool:
        if time < track.last - _BACKWARD_SECONDS:
            return True
        if not self._is_broadcast:
            return False  # a pause
        limit = max(Fraction(_FORWARD_SECONDS), 3 * track.step)  # slides may be far apart
        return track.step > 0 and time > track.last + limit and time > track.segment.last + limit

    def _next_segment(self, track: _Track, time: Fraction, packet: av.Packet) -> _Segment:
        """Return the segment that a stream jumps to: one that another stream has reached already, or a new one."""
        later = self._segments[self._segments.index(track.segment) + 1 :]
        matching = [s for s in later if s.start - _MATCH_SECONDS <= time <= s.last + _MATCH_SECONDS]
        if matching:
            segment = matching[0]
        else:
            self._settle()  # the reference stream has skipped a segment
            segment = self._begin(time, None)
        if segment.offset is None and packet.stream_index == self.reference:
            shown = time + _delay(packet)
            assert track.segment.offset is not None
            self._set_offset(segment, shown, track.end + track.segment.offset)
        return segment

    def _begin(self, time: Fraction, offset: Fraction | None) -> _Segment:
        segment = _Segment(time, time, offset)
        self._segments.append(segment)
        return segment

    def _set_offset(self, segment: _Segment, time: Fraction, becomes: Fraction) -> None:
        segment.offset = becomes - time
        self.jumps.append(becomes)

    def _settle(self) -> None:
        """Let segments that the reference stream has not reached begin after everything before them."""
        for segment in self._segments:
            if segment.offset is None:
                self._set_offset(segment, segment.start, self._end())

    def _end(self) -> Fraction:
        """Return the time of this clock at which all known packets end."""
        ends = [t.end + t.segment.offset for t in self._tracks.values() if t.segment.offset is not None]
        return max(ends, default=Fraction(0))

    def _released(self) -> list[av.Packet]:
        ready: list[av.Packet] = []
        for count, (packet, segment) in enumerate(self._held):
            if segment.offset is None:
                del self._held[:count]
                return ready
            ready.append(_moved(packet, segment.offset))
        self._held.clear()
        return ready

    def _release(self) -> list[av.Packet]:
        self._settle()
        return self._released()


def _delay(packet: av.Packet) -> Fraction:
    """Return the seconds from dts to pts."""
    if packet.pts is None or packet.dts is None:
        return Fraction(0)
    return (packet.pts - packet.dts) * Fraction(packet.time_base)


def _moved(packet: av.Packet, offset: Fraction) -> av.Packet:
    if offset:
        ticks = round(offset / Fraction(packet.time_base))
        packet.pts, packet.dts = _sum(packet.pts, ticks), _sum(packet.dts, ticks)
    return packet


def _sum(time: int | None, ticks: int) -> int | None:
    """Add ticks to a time; the absurd times of damaged files, which do not fit into a packet, become unknown."""
    return None if time is None or abs(time + ticks) > _MAX_TICKS else time + ticks
