"""Parts begin at key frames, follow each other, and hold every frame once."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest
from supertile.video.parts.plan import contiguous, plan_parts
from supertile.video.read.file import VideoReader
from supertile.video.read.scan import PacketTimes, packet_times

from .conftest import CLIPS


def times(count: int, key_every: int, step: int = 40) -> PacketTimes:
    pts = np.arange(count, dtype=np.int64) * step
    return PacketTimes(pts, pts[::key_every])


@pytest.mark.parametrize("name", CLIPS)
def test_packets_tell_the_times_of_all_frames(clip, name):
    scanned = packet_times(clip(name))
    with VideoReader(clip(name)) as reader:
        frames = [frame.pts for frame in reader]
    assert scanned.pts.tolist() == frames
    assert set(scanned.keys.tolist()) <= set(frames)
    assert len(scanned.keys) > 3


def test_parts_begin_at_key_frames_and_cover_all():
    parts = plan_parts(times(1000, 30), Fraction(1, 1000), 0, seconds=4)
    assert [part.index for part in parts] == list(range(len(parts)))
    assert parts[0].start == 0
    assert parts[-1].stop is None
    for part, following in itertools.pairwise(parts):
        assert part.stop == following.start
        assert following.start % (30 * 40) == 0
        assert 4000 <= following.start - part.start < 4000 + 30 * 40
    assert sum(part.expected for part in parts) == 1000
    assert [sum(part.has(pts) for part in parts) for pts in range(0, 40_000, 40)] == [1] * 1000


def test_a_span_begins_between_key_frames_and_ends_before_its_end():
    parts = plan_parts(times(1000, 30), Fraction(1, 1000), 440, 20_000, seconds=4)
    assert parts[0].start == 440
    assert parts[-1].stop == 20_000
    assert sum(part.expected for part in parts) == (20_000 - 440) // 40


def test_one_key_frame_is_one_part():
    [part] = plan_parts(times(1000, 1000), Fraction(1, 1000), 0, seconds=4)
    assert (part.start, part.stop, part.expected) == (0, None, 1000)


def test_runs_are_contiguous():
    parts = plan_parts(times(1000, 25), Fraction(1, 1000), 0, seconds=4)
    left = [parts[0], parts[2], parts[3], parts[6]]
    assert [[part.index for part in run] for run in contiguous(left)] == [[0], [2, 3], [6]]


def test_ten_thousand_parts_are_planned_at_once():
    many = times(10_000 * 125, 125)
    started = time.process_time()
    assert len(plan_parts(many, Fraction(1, 1000), 0, seconds=5)) == 10_000
    assert time.process_time() - started < 20
