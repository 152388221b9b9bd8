"""Cut a video into parts: half-open intervals of time that begin at key frames."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..read.scan import PacketTimes

PART_SECONDS = 8
"""The least duration of a part. A part ends at the next key frame after it.

Each part begins with a key frame of the encoder; every 8 s they cost less than 1 % in size.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """The frames with start <= pts < stop, in the source's time base. `stop` None: to the end.

    Attributes:
        expected: number of frames that the packets of the source announce.
        checksum: of their times; see `checksum_of`.
    """

    index: int
    start: int
    stop: int | None
    expected: int
    checksum: int = 0

    def has(self, pts: int) -> bool:
        """Return True if a frame belongs to this part."""
        return pts >= self.start and (self.stop is None or pts < self.stop)


def plan_parts(
    times: PacketTimes, time_base: Fraction, start: int, stop: int | None = None, *, seconds: float = PART_SECONDS
) -> list[Part]:
    """Return the parts of the frames from `start` to before `stop`.

    Args:
        times: of the packets.
        time_base: of all times, in seconds.
        start: pts of the first frame, which need not be a key frame.
        stop: end of the last part; None: the end of the video.
        seconds: least duration of a part but the last.
    """
    step = max(1, int(Fraction(seconds) / time_base))
    last = int(times.pts[-1]) if stop is None else min(stop - 1, int(times.pts[-1]))
    bounds = [start]
    while True:
        position = int(np.searchsorted(times.keys, bounds[-1] + step))
        if position == len(times.keys) or times.keys[position] > last:
            break
        bounds.append(int(times.keys[position]))
    stops: list[int | None] = [*bounds[1:], stop]
    # The first part takes frames that precede `start` by rounding; there are none after the last `stop`.
    edges = np.searchsorted(times.pts, [*bounds, last + 1])
    announced = [times.pts[first:after] for first, after in itertools.pairwise(edges)]
    return [
        Part(index, begin, end, len(pts), checksum_of(pts))
        for index, (begin, end, pts) in enumerate(zip(bounds, stops, announced, strict=True))
    ]


def checksum_of(pts: NDArray[np.int64]) -> int:
    """Return the CRC-32 of presentation times, which must be sorted."""
    return zlib.crc32(pts.astype("<i8").tobytes())


def contiguous(parts: Sequence[Part]) -> list[list[Part]]:
    """Group parts, in order, into runs in which each begins where the one before ends."""
    runs: list[list[Part]] = []
    for part in parts:
        if runs and runs[-1][-1].index + 1 == part.index:
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs
