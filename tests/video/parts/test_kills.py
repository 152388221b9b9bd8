"""A video whose upscaling is killed again and again: the same command goes on, and the file is that of one run."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from supertile.video.parts.folder import JOBS

from ...field.test_interrupted_folders import Server
from .conftest import digest, write_clip

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SHORT_PARTS = """
import supertile.video.upscale as module
plan = module.plan_job
module.plan_job = lambda task, info, encoding, seconds: plan(task, info, encoding, 1)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, SHORT_PARTS)
    yield server
    server.stop()


def records_of(folder: Path) -> int:
    return len(list(folder.glob(f"{JOBS}/*/0*.json")))


def after_parts(folder: Path, count: int, delay: float) -> Callable[[], bool]:
    """Return a function that is True once there are so many more parts, and then some seconds later."""
    wanted = records_of(folder) + count
    due: list[float] = []

    def is_due() -> bool:
        if not due and records_of(folder) >= wanted:
            due.append(time.monotonic() + delay)
        return bool(due) and time.monotonic() >= due[0]

    return is_due


def check_kills(server: Server, command: str, target: Path, reference: Path, *, kills: int, wait: float) -> str:
    """Run a command once for `reference`, and with kills for `target`; compare them and return what was lost."""
    numbers = random.Random(kills)
    assert server.run(f"{command} {reference.name}") == 0
    lost, done = [], []
    for _ in range(kills):
        moment = after_parts(server.folder, numbers.choice([1, 1, 2]), numbers.uniform(0, wait))
        if server.run(f"{command} {target.name}", moment) != -signal.SIGKILL:
            break
        if target.exists():  # killed while the parts were deleted
            break
        done.append(records_of(server.folder))
        lost.append(len(list(server.folder.glob(f"{JOBS}/*/.*.media.*.part"))))
    if not target.exists():
        assert server.run(f"{command} {target.name}") == 0
        assert not (server.folder / JOBS).exists()
    assert digest(target) == digest(reference)
    said = (server.folder / "stderr.txt").read_text()
    continued = [int(count) for count in re.findall(r"(\d+) of \d+ parts are done \(", said)]
    assert set(continued) <= set(done)  # a run may be killed before it says anything
    assert max(lost, default=0) <= 1
    return f"{len(done)} kills after {done} parts, with {lost} parts begun but not done"


def test_a_video_that_was_killed_at_random_moments_is_continued(server, spec, tmp_path):
    write_clip(tmp_path, "h264", seconds=6)
    command = f"upscale h264.mp4 --model {spec.model} --device cpu --precision fp32 --codec ffv1"
    print(check_kills(server, command, tmp_path / "a.mkv", tmp_path / "whole.mkv", kills=3, wait=0.05))
