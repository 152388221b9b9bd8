"""Folders whose upscaling is killed again and again: the same command goes on, and the result is that of one run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from supertile.images.journal import JOURNAL_NAME

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Starts a process for each line of arguments and prints its number; its exit code goes into a file. Python and its
# packages are loaded only once, so that many processes can be killed in a short time.
SERVER = """
import os, shlex, sys
import supertile.cli, supertile.images.batch, supertile.inference.upscaler, supertile.video.batch
import supertile.weights.loader
for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.argv = ["supertile", *shlex.split(line)]
        for stream, name in (1, "stdout.txt"), (2, "stderr.txt"):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        from supertile.__main__ import main
        main()
    print(child, flush=True)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open("code.tmp", "w") as file:
        file.write(str(code))
    os.rename("code.tmp", f"{child}.code")
"""


class Server:
    """Runs commands in a folder, as processes of their own."""

    def __init__(self, folder: Path, setup: str = "") -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", setup + SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(self, command: str, kill_when: Callable[[], bool] = lambda: False) -> int:
        """Return the exit code: -9 if the process was still there when `kill_when` returned True."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        code, deadline = self.folder / f"{child}.code", time.monotonic() + 600
        while not code.exists() and time.monotonic() < deadline:
            if kill_when():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        return int(code.read_text())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def after_files(folder: Path, count: int, delay: float) -> Callable[[], bool]:
    """Return a function that is True once there are so many more files in a folder, and then some seconds later."""

    def files() -> int:
        return sum(name.endswith(".png") for name in os.listdir(folder)) if folder.exists() else 0

    wanted = files() + count
    due: list[float] = []

    def is_due() -> bool:
        if not due and files() >= wanted:
            due.append(time.monotonic() + delay)
        return bool(due) and time.monotonic() >= due[0]

    return is_due


def events_in(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # killed while it was printed
            yield json.loads(line)


def check_interrupted_folder(server: Server, model: str, *, files: int, kills: int) -> str:
    """Upscale a folder once, and once with interruptions; compare the results and return the counts in a sentence."""
    folder, numbers = server.folder, random.Random(files)
    for number in range(files):
        (folder / "in").mkdir(exist_ok=True)
        codes = np.random.default_rng(number).integers(0, 256, (12 + number % 7, 16, 3), dtype=np.uint8)
        Image.fromarray(codes).save(folder / "in" / f"{number:03}.png")
    options = f"--model {model} --device cpu"
    assert server.run(f"upscale in whole {options} -q") == 0

    command, out, killed = f"upscale in out {options} --json", folder / "out", 0
    for _ in range(kills):
        moment = after_files(out, numbers.randrange(2 * files // (3 * kills) + 1), numbers.uniform(0, 0.05))
        killed += server.run(command, moment) == -signal.SIGKILL
    before = len(list(out.glob("*.png")))
    assert server.run(command) == 0

    made = {path.name: path.read_bytes() for path in out.iterdir() if path.name != JOURNAL_NAME}
    assert made == {path.name: path.read_bytes() for path in (folder / "whole").glob("*.png")}  # and no .part is left
    events = list(events_in(folder / "stdout.txt"))
    assert max(Counter(event["target"] for event in events if event["event"] == "done").values()) == 1
    assert events[-1] == events[-1] | {"event": "summary", "done": files - before, "skipped": before, "failed": 0}
    assert not [event for event in events if event["event"] == "failed"]
    written = len((out / JOURNAL_NAME).read_text().splitlines())
    assert files <= written <= files + killed  # in each process that was killed, one file is being published at most
    return f"{files} files, {killed} kills, {written - files} files written twice, {before} left from killed runs"


def test_a_folder_that_was_killed_at_random_moments_is_continued(server, model):
    print(check_interrupted_folder(server, model, files=60, kills=4))
