"""Drive child processes over changed files, and count what happens."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Literal, NamedTuple

from .guarded import changed_inside
from .hostile import canary, poisoner
from .mutate import mutated
from .seeds import KINDS

Outcome = Literal[
    "done", "refused", "wrong exception", "unreadable result", "crash", "hang", "memory", "code run", "left behind"
]
GOOD = ("done", "refused")
WORKER = "supertile.tests.fuzz.worker"
TARGETS = {
    "image": (".png", ".png", ".jpg", ".webp", ".tif", ".avif"),
    "animation": (".gif", ".png", ".webp", ".mp4", ".mkv"),
    "video": (".mkv", ".mkv", ".mp4", ".mov", ".webm"),
}
_START_TIMEOUT_S = 120
_POLL_S = 0.05


@dataclass(frozen=True)
class Limits:
    """Limits for one file, also on a busy machine: seconds, and bytes above those of the process at its start."""

    seconds: float = 30
    memory: int = 1 << 30


@dataclass(frozen=True)
class Finding:
    """A changed file with a bad outcome. The file is kept under `path`."""

    outcome: Outcome
    kind: str
    seed_file: str
    path: Path
    detail: str


@dataclass
class Counts:
    """The outcomes of all files, by kind, with the largest growth in bytes and the longest time in seconds."""

    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    growth: int = 0
    growth_of: str = ""
    slowest: float = 0
    slowest_of: str = ""
    seconds: float = 0

    @property
    def total(self) -> int:
        return sum(sum(counter.values()) for counter in self.by_kind.values())

    def table(self) -> str:
        """Return one line for each kind, with how many files had which outcome, and one on memory and time."""
        lines = [f"{kind}: {dict(counter)}" for kind, counter in self.by_kind.items()]
        rate = self.total / max(self.seconds, 1e-9)
        lines.append(
            f"at most {self.growth / 2**20:.0f} MiB above the start ({self.growth_of}) and {self.slowest:.1f} s for a "
            f"file ({self.slowest_of}); {rate:.0f} files per second"
        )
        return "\n".join(lines)


def fuzz(
    folder: Path,
    seeds: dict[str, list[Path]],
    *,
    seed: int,
    files: int | None = None,
    seconds: float | None = None,
    kinds: Sequence[str] = KINDS,
    limits: Limits = Limits(),
    worker: str = WORKER,
    change: bool = True,
) -> Counts:
    """Change and open files until so many have been tried or so many seconds have passed.

    Args:
        folder: for changed files and results; those with a bad outcome stay in `folder/findings`.
        seeds: valid files by kind, as `make_seeds` returns them for the same folder.
        seed: of the random changes; the n-th file is a function of it and n.
        files: how many files; None for no limit.
        seconds: how long; None for no limit.
        kinds: which kinds of files.
        limits: what a file may take.
        worker: module that calls `serve`.
        change: False to open the seeds as they are, in order.
    """
    counts = Counts({kind: Counter() for kind in kinds})
    findings, work = folder / "findings", folder / "work"
    findings.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    poison = poisoner(folder)
    contents = {path: path.read_bytes() for kind in kinds for path in seeds[kind]}
    started = time.monotonic()
    with _Child(worker, folder, limits) as child:
        for number in _numbers(files, seconds, started):
            rng = random.Random(f"{seed} {number}")
            kind = kinds[number % len(kinds)]
            source, other = rng.choice(seeds[kind]), rng.choice(seeds[kind])
            if not change:
                source = seeds[kind][number // len(kinds) % len(seeds[kind])]
            path = work / f"{number}{source.suffix}"
            content = contents[source]
            path.write_bytes(_changed(content, contents[other], poison, rng) if change else content)
            target = work / f"{number}-result{rng.choice(TARGETS.get(kind, ('.safetensors',)))}"
            answer = child.open(kind, path, target)
            outcome, detail = answer.outcome, answer.detail
            if outcome in GOOD and answer.grown > limits.memory:
                outcome, detail = "memory", f"{answer.grown / 2**20:.0f} MiB; {detail}"
            if canary(folder).exists():
                outcome = "code run"
                canary(folder).rmdir()
            left = {each for each in work.iterdir() if each != path}
            if outcome in GOOD and left != ({target} if outcome == "done" else set()):
                detail = f"{', '.join(sorted(each.name for each in left)) or 'nothing'} after {outcome}; {detail}"
                outcome = "left behind"
            for each in left:
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            counts.by_kind[kind][outcome] += 1
            if answer.grown > counts.growth:
                counts.growth, counts.growth_of = answer.grown, f"{number}, from {source.name}"
            if answer.seconds > counts.slowest:
                counts.slowest, counts.slowest_of = answer.seconds, f"{number}, from {source.name}"
            if outcome not in GOOD:
                kept = path.rename(findings / f"{seed}-{path.name}")
                counts.findings.append(Finding(outcome, kind, f"{source.name}, to {target.suffix}", kept, detail))
                child.end()
            else:
                path.unlink()
    counts.seconds = time.monotonic() - started
    return counts


def _changed(
    content: bytes, other: bytes, poison: Callable[[bytes, random.Random], bytes], rng: random.Random
) -> bytes:
    """Return a file changed inside what guards its contents, or anywhere, half of the time each where both can be."""
    inside = None
    if rng.random() < 0.5:
        inside = changed_inside(content, lambda data: mutated(data, other, rng), lambda data: poison(data, rng), rng)
    return inside or mutated(content, other, rng)


def _numbers(files: int | None, seconds: float | None, started: float) -> Iterator[int]:
    number = 0
    while (files is None or number < files) and (seconds is None or time.monotonic() - started < seconds):
        yield number
        number += 1


class _Answer(NamedTuple):
    outcome: Outcome
    detail: str
    grown: int
    seconds: float


class _Child:
    """A child process that opens files; started again whenever a file ends or blocks it."""

    def __init__(self, module: str, folder: Path, limits: Limits) -> None:
        self._command = [sys.executable, "-m", module]
        self._limits = limits
        self._log = folder / "stderr.txt"
        self._environment = {**os.environ, "TMPDIR": str(folder / "work"), "OMP_NUM_THREADS": "1"}
        self._process: subprocess.Popen[str] | None = None
        self._base = 0

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def open(self, kind: str, path: Path, target: Path) -> _Answer:
        """Open one file in the process and return its outcome, or how the process ended."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        job = {"kind": kind, "path": str(path), "target": str(target)}
        started = time.monotonic()
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        grown = 0
        while not select([process.stdout], [], [], _POLL_S)[0]:
            seconds = time.monotonic() - started
            grown = max(grown, _resident_bytes(process.pid) - self._base)
            if grown > 2 * self._limits.memory:  # before the machine is out of memory
                return _Answer("memory", f"ended at {grown / 2**20:.0f} MiB; {self._stacks()}", grown, seconds)
            if seconds > self._limits.seconds:
                return _Answer("hang", f"no answer within {self._limits.seconds} s; {self._stacks()}", grown, seconds)
        line = process.stdout.readline()
        seconds = time.monotonic() - started
        if not line:
            code = process.wait()
            self._process = None
            return _Answer("crash", f"the process ended with code {code}; {self._last_words()}", grown, seconds)
        answer = json.loads(line)
        return _Answer(answer["outcome"], answer["detail"], answer["grown"], seconds)

    def end(self) -> None:
        """End the process; the next file has a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("w") as log:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=self._environment,
            )  # fmt: skip
        assert process.stdout is not None
        if not select([process.stdout], [], [], _START_TIMEOUT_S)[0] or not process.stdout.readline():
            process.kill()
            raise RuntimeError(f"the worker does not start: {self._last_words()}")
        self._base = _resident_bytes(process.pid)
        return process

    def _stacks(self) -> str:
        """End the process; return where all of its threads were."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        self.end()
        return self._last_words()

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0  # it has just ended
