"""Drive worker processes over changed files, and count what happens."""

from __future__ import annotations

import json
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .mutate import mutated
from .seeds import KINDS, canary

Outcome = Literal["done", "refused", "wrong exception", "crash", "hang", "memory", "code run", "left behind"]
GOOD = ("done", "refused")
TIMEOUT_S = 30
MEMORY_LIMIT = 1 << 30
SUFFIX = {"image": ".png", "video": ".mkv", "checkpoint": ".none"}


@dataclass
class Finding:
    """A changed file with a bad outcome. The file is kept under `path`."""

    outcome: Outcome
    kind: str
    seed_file: str
    path: Path
    detail: str


@dataclass
class Counts:
    """The outcomes of all files, by kind."""

    by_kind: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    findings: list[Finding] = field(default_factory=list)
    largest_growth: int = 0

    @property
    def total(self) -> int:
        return sum(sum(counter.values()) for counter in self.by_kind.values())

    def table(self) -> str:
        """Return one line a kind: how many files had which outcome."""
        lines = [f"{kind}: {dict(counter)}" for kind, counter in self.by_kind.items()]
        return "\n".join([*lines, f"largest growth in memory: {self.largest_growth / 2**20:.0f} MiB"])


def fuzz(
    folder: Path,
    seeds: dict[str, list[Path]],
    *,
    seed: int,
    files: int | None = None,
    seconds: float | None = None,
    kinds: tuple[str, ...] = KINDS,
) -> Counts:
    """Change and open files until so many have been tried or so many seconds have passed.

    Args:
        folder: for changed files and results; those with a bad outcome stay in `folder/findings`.
        seeds: valid files by kind, as `make_seeds` returns them.
        seed: of the random changes; the n-th file is a function of it and n.
        files: how many files; None for no limit.
        seconds: how long; None for no limit.
        kinds: which kinds of files.
    """
    counts = Counts()
    findings = folder / "findings"
    findings.mkdir(exist_ok=True)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    contents = {path: path.read_bytes() for kind in kinds for path in seeds[kind]}
    started = time.monotonic()
    with _Worker(work) as worker:
        for number in _numbers(files, seconds, started):
            rng = random.Random(f"{seed} {number}")
            kind = kinds[number % len(kinds)]
            source, other = rng.choice(seeds[kind]), rng.choice(seeds[kind])
            path = work / f"{number}{source.suffix}"
            path.write_bytes(mutated(contents[source], contents[other], rng))
            target = work / f"{number}-result{SUFFIX[kind]}"
            outcome, detail, grown = worker.open(kind, path, target)
            counts.largest_growth = max(counts.largest_growth, grown)
            if outcome in GOOD and grown > MEMORY_LIMIT:
                outcome, detail = "memory", f"{grown / 2**20:.0f} MiB; {detail}"
            if canary(folder).exists():
                outcome = "code run"
                canary(folder).rmdir()
            left = [each for each in work.iterdir() if each not in (path, worker.model)]
            expected = {target} if outcome == "done" else set()
            if outcome in GOOD and set(left) - expected:
                outcome, detail = "left behind", ", ".join(sorted(each.name for each in left))
            for each in left:
                each.unlink()
            counts.by_kind[kind][outcome] += 1
            if outcome not in GOOD:
                kept = path.rename(findings / path.name)
                counts.findings.append(Finding(outcome, kind, source.name, kept, detail))
            else:
                path.unlink()
    return counts


def _numbers(files: int | None, seconds: float | None, started: float) -> Iterator[int]:
    number = 0
    while (files is None or number < files) and (seconds is None or time.monotonic() - started < seconds):
        yield number
        number += 1


class _Worker:
    """A child process that opens files; started again whenever a file ends or blocks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "worker.safetensors"
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()
        self.model.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(self.folder)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _end(self) -> int:
        code = 0
        if self.process is not None:
            self.process.kill()
            code = self.process.wait()
            self.process = None
        return code

    def open(self, kind: str, path: Path, target: Path) -> tuple[Outcome, str, int]:
        """Return the outcome of one file, its detail, and by how many bytes the process grew meanwhile."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"kind": kind, "path": str(path), "target": str(target)}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return "crash", f"the worker had ended with code {self._end()}", 0
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(TIMEOUT_S):
                self._end()
                return "hang", f"no answer within {TIMEOUT_S} s", 0
        line = self.process.stdout.readline()
        if not line:
            return "crash", f"the process ended with code {self.process.wait() or self._end()}", self._forget()
        answer = json.loads(line)
        return answer["outcome"], answer["detail"], answer["grown"]

    def _forget(self) -> int:
        self.process = None
        return 0
