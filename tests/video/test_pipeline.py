"""Three stages at once: order, bounded queues, the first error ends all, cancelling is prompt."""

from __future__ import annotations

import threading
import time

import pytest
from supertile.video import pipeline


def as_they_are(frames):
    yield from frames


def nothing(cancelled):
    return None


def stage_threads():
    return [t for t in threading.enumerate() if t.name.startswith("supertile-")]


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_job():
    yield
    assert stage_threads() == []


def test_frames_come_out_in_order_and_finish_comes_last():
    written = []
    pipeline.run(
        range(100), lambda frames: (2 * f for f in frames), written.append, lambda cancelled: written.append("finished")
    )
    assert written == [2 * i for i in range(100)] + ["finished"]


def test_a_job_without_frames_finishes():
    finished = []
    pipeline.run([], as_they_are, finished.append, lambda cancelled: finished.append(cancelled()))
    assert finished == [False]


@pytest.mark.parametrize("slow", ["upscale", "encode"])
def test_no_stage_runs_ahead_of_a_slower_one_by_more_than_the_queues_hold(slow):
    read, written, ahead = [], [], []

    def frames():
        for i in range(40):
            read.append(i)
            yield i

    def upscale(frames):
        for frame in frames:
            if slow == "upscale":
                time.sleep(0.002)
            yield frame

    def write(frame):
        if slow == "encode":
            time.sleep(0.002)
        written.append(frame)
        ahead.append(len(read) - len(written))

    pipeline.run(frames(), upscale, write, nothing, depth=2)
    assert len(written) == 40
    assert max(ahead) <= 2 + 2 + 3  # both queues, and a frame in the hands of each stage


def test_the_stages_work_at_the_same_time():
    def slowly(frames):
        for frame in frames:
            time.sleep(0.02)
            yield frame

    times = pipeline.run(slowly(range(20)), slowly, lambda frame: time.sleep(0.02), nothing)
    assert sum(times.busy.values()) > 2 * times.total  # one after the other it would be once the total


def test_the_slowest_stage_is_named():
    times = pipeline.run(range(20), as_they_are, lambda frame: time.sleep(0.005), nothing)
    assert times.bound_by == "encode"
    assert times.share("encode") > 0.5
    assert times.share("decode") < 0.5


class Broken(Exception):
    pass


@pytest.mark.parametrize("stage", ["decode", "upscale", "encode", "finish"])
def test_an_error_in_any_stage_ends_all_and_reaches_the_caller(stage):
    def breaking(frames, here):
        for i, frame in enumerate(frames):
            if i == 10 and stage == here:
                raise Broken(stage)
            yield frame

    def write(frame):
        if stage == "encode" and frame == 10:
            raise Broken(stage)

    def finish(cancelled):
        if stage == "finish":
            raise Broken(stage)

    with pytest.raises(Broken, match=stage):
        pipeline.run(breaking(range(1000), "decode"), lambda frames: breaking(frames, "upscale"), write, finish)


def test_the_first_error_wins_over_those_it_causes():
    def upscale(frames):
        try:
            yield from frames
        finally:
            raise KeyError("a consequence")

    def write(frame):
        raise Broken("the cause")

    with pytest.raises(Broken, match="the cause"):
        pipeline.run(range(1000), upscale, write, nothing)


def test_cancelling_is_prompt_while_a_stage_waits():
    started = time.perf_counter()

    def cancelled():
        if time.perf_counter() - started > 0.2:
            raise Broken("cancelled")

    def endless():
        while True:
            time.sleep(0.05)
            yield 0

    with pytest.raises(Broken, match="cancelled"):
        pipeline.run(endless(), as_they_are, lambda frame: None, nothing, cancelled=cancelled)
    assert time.perf_counter() - started < 20


def test_cancelling_reaches_a_finish_that_takes_long():
    gave_up, finishing = [], threading.Event()

    def finish(cancelled):
        finishing.set()
        while not cancelled():
            time.sleep(0.01)
        gave_up.append(True)

    def cancelled():
        if finishing.is_set():
            raise Broken("cancelled")

    with pytest.raises(Broken, match="cancelled"):
        pipeline.run(range(3), as_they_are, lambda frame: None, finish, cancelled=cancelled)
    assert gave_up == [True]


def test_an_interrupt_in_the_callers_thread_ends_the_job():
    def upscale(frames):
        yield next(frames)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(range(1000), upscale, lambda frame: None, nothing)
