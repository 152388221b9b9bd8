"""Read the times of all frames of a video from its packets, without decoding."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ..broadcast import open_file
from ..clock import Clock
from ..container import StreamChoice, name_of, video_stream_of


@dataclass(frozen=True)
class PacketTimes:
    """Presentation times of the packets of a video stream, sorted, in its time base.

    Attributes:
        pts: (N,) int64, of all packets that are shown.
        keys: (K,) int64, of the key frames among them.
    """

    pts: NDArray[np.int64]
    keys: NDArray[np.int64]


def packet_times(source: str | Path, choice: StreamChoice = None) -> PacketTimes | None:
    """Return the times of a video stream, on the clock of `VideoReader`.

    Args:
        source: path of a video file; it is read once, as fast as the disk allows.
        choice: which video stream, as `VideoReader` takes it.

    Returns:
        The times; None if they do not tell where frames are: there are none, a packet has none, two have the same, or
        the key frames are not in order.

    Raises:
        VideoError: the file cannot be opened.
    """
    opened = open_file(source)
    pts, keys = array("q"), array("q")
    with opened.container as container:
        stream = video_stream_of(container, name_of(source), choice)
        clock = Clock(opened, stream.index)
        streams = clock.clocked_streams() if clock.follows_jumps else [stream]
        feed = clock.feed if clock.follows_jumps or clock.base or opened.continues else _unchanged  # in half the time
        with suppress(IndexError, av.FFmpegError, OSError):  # damage, which decoding meets as well
            for packet in container.demux(streams):
                if packet.size and not _note(feed(packet), stream.index, pts, keys):
                    return None
        if not _note(clock.flush(), stream.index, pts, keys):
            return None
    if not pts or not keys:
        return None
    times = PacketTimes(np.frombuffer(pts, np.int64), np.frombuffer(keys, np.int64))
    times.pts.sort()
    rises = all((each[1:] > each[:-1]).all() for each in (times.pts, times.keys))
    return times if rises else None


def _unchanged(packet: av.Packet) -> tuple[av.Packet]:
    return (packet,)


def _note(packets: Sequence[av.Packet], index: int, pts: array[int], keys: array[int]) -> bool:
    """Append the times of a stream's packets; return False if one has none."""
    for packet in packets:
        if packet.stream_index != index or packet.is_discard:
            continue
        if packet.pts is None:
            return False
        pts.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    return True
