"""Measure contenders in rounds: each in its own process, one pass of each in every round.

No contender is affected by another's allocator, caches or imports, and other load on the machine affects all of them
alike. So the ratio of times from one run is what counts.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import runtimes
from .cases import Case, Workload
from .contenders import PEAK, Contender, Runner, Setup, build, contenders_of, export, seconds
from .errors import BenchError
from .peak_memory import PeakMemory

WARM_UP_BELOW_S = 1.0
"""A shorter pass is preceded by one that is not timed: its data left the caches while the other contenders ran."""

CORNER_SIDE = 128
"""Results are compared in a corner of this many pixels."""


@dataclass
class Measured:
    """Measurements of a contender on one workload.

    Attributes:
        times: seconds of each pass.
        memory: bytes by which memory grew at its peak, with the images.
        kept: bytes of the images and of the one result that a pass keeps.
        tiles: (height, width) of each tile.
        difference: largest difference from the first contender, in the corner, of a full scale of 1.
        agreement: PSNR against the first contender in dB, with the range of its corner as the peak: random weights may
            return images that span little.
        flops: of one pass, for a convolution.
        failed: why the contender was left out; empty if it was not.
    """

    case: Case
    contender: Contender
    workload: Workload
    times: list[float] = field(default_factory=list)
    memory: int | None = None
    kept: int = 0
    tiles: list[tuple[int, int]] = field(default_factory=list)
    difference: float | None = None
    agreement: float | None = None
    flops: float | None = None
    failed: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """Time of the slowest pass over that of the fastest."""
        return max(self.times) / min(self.times)


def measure(
    case: Case, setup: Setup, rounds: int, progress: Callable[[str], None] = lambda sentence: None
) -> list[Measured]:
    """Measure all contenders of a case, on one workload after the other.

    A contender that fails (its code raises, memory runs out) is left out from there on, with the reason in `failed`.

    Args:
        case: what to measure.
        setup: shared settings.
        rounds: passes of each contender on each workload.
        progress: called with a sentence before each step.

    Raises:
        BenchError: the first contender, the reference of all others, failed.
    """
    contenders = contenders_of(case, setup)
    measurements: list[Measured] = []
    with _folder_of_graphs(setup) as setup, _workers(case, contenders, setup) as workers:
        for i, workload in enumerate(case.workloads):
            reading = [worker for worker in workers if worker.contender.reads_graph]
            if reading:
                progress(f"{case.network.name} {workload}: exporting a graph")
                reason = export(case, workload, setup)
                for worker in reading:
                    worker.failed = reason
            results = {worker.contender: Measured(case, worker.contender, workload) for worker in workers}
            measurements += results.values()
            corners: dict[Contender, Tensor] = {}
            for worker in workers:
                progress(f"{case.network.name} {workload}: {worker.contender.name}")
                first = worker.request(("first", i))
                if first is not None:
                    measured = results[worker.contender]
                    corners[worker.contender] = torch.from_numpy(first["corner"])
                    measured.memory, measured.kept = first["memory"], first["kept"]
                    measured.tiles, measured.flops = first["tiles"], first["flops"]
            for round_ in range(rounds):
                progress(f"{case.network.name} {workload}: round {round_ + 1} of {rounds}")
                for worker in rotated(workers, round_):
                    time = worker.request(("time", i))
                    if time is not None:
                        results[worker.contender].times.append(time)
            _compare(results, corners, contenders[0])
            for worker in workers:
                results[worker.contender].failed = worker.failed
            if workers[0].failed:
                raise BenchError(f"{case.network.name}, {contenders[0].name}: {workers[0].failed}")
            workers = [worker for worker in workers if not worker.failed]
    return measurements


@contextmanager
def _folder_of_graphs(setup: Setup) -> Iterator[Setup]:
    with tempfile.TemporaryDirectory() as folder:
        yield replace(setup, graphs=Path(folder))


def rotated(workers: list[_Worker], round_: int) -> list[_Worker]:
    """Start each round with the next worker, so that none always runs after the same one."""
    start = round_ % len(workers)
    return workers[start:] + workers[:start]


def _compare(results: dict[Contender, Measured], corners: dict[Contender, Tensor], first: Contender) -> None:
    for contender, corner in corners.items():
        if contender.backend == PEAK or first not in corners:
            continue
        expected = corners[first].double()
        error = corner.double() - expected
        square, peak = error.square().mean().item(), (expected.max() - expected.min()).item()
        results[contender].difference = error.abs().max().item()
        results[contender].agreement = 10 * math.log10(max(peak**2, 1e-30) / square) if square > 0 else math.inf


# --- in the parent: a worker for each contender --------------------------------------------------------------------


class _Worker:
    """A contender's process and the pipe to it."""

    def __init__(self, contender: Contender, process: BaseProcess, pipe: Connection) -> None:
        self.contender, self.process, self.pipe = contender, process, pipe
        self.failed = ""

    def request(self, message: tuple[str, int]) -> Any:
        """Return the answer, or None if the contender has failed, now or before."""
        if self.failed:
            return None
        try:
            self.pipe.send(message)
            if self.contender.reads_graph and not self.pipe.poll(runtimes.LIMIT_S):
                self.process.kill()
                kind, answer = "failed", f"not done after {runtimes.LIMIT_S / 60:.0f} minutes"
            else:
                kind, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            kind, answer = "failed", f"its process ended ({self.process.exitcode})"
        if kind == "failed":
            self.failed = str(answer)
            return None
        return answer


@contextmanager
def _workers(case: Case, contenders: list[Contender], setup: Setup) -> Iterator[list[_Worker]]:
    context = _context()
    workers = []
    try:
        for contender in contenders:
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, case, contender, setup), daemon=True)
            process.start()
            there.close()
            workers.append(_Worker(contender, process, here))
        yield list(workers)
    finally:
        for worker in workers:
            worker.pipe.close()  # ends its loop, unless it is in the middle of a pass
        for worker in workers:
            worker.process.join(0.2)
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join()


def _context() -> Any:
    """Return a way to start processes: on Linux forked from a server that has imported the libraries, else spawned."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload([__name__])
    return multiprocessing.get_context("forkserver")


# --- in a contender's process ------------------------------------------------------------------------------------


def serve(pipe: Connection, case: Case, contender: Contender, setup: Setup) -> None:
    """Build the contender at the first request, then answer requests: ("first" or "time", index of the workload)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    warnings.simplefilter("ignore")  # of other people's code
    try:
        request, index = pipe.recv()
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        session = _Session(build(contender, case.network, setup), case, torch.device(setup.device))
        while True:
            pipe.send(("done", session.first(index) if request == "first" else session.time()))
            request, index = pipe.recv()
    except (EOFError, BrokenPipeError):  # the parent has closed the pipe
        return
    except Exception as error:
        sentence = str(error).strip().partition("\n")[0][:200]
        pipe.send(("failed", sentence if isinstance(error, BenchError) else f"{type(error).__name__}: {sentence}"))


class _Session:
    """A contender that has been built, with the images of the current workload."""

    def __init__(self, runner: Runner, case: Case, device: torch.device) -> None:
        self.runner, self.case = runner, case
        self.images = torch.empty(0, device=device)
        self.device = self.images.device  # "cuda" has become "cuda:0"
        self.memory = PeakMemory(device)
        self.last = 0.0

    @torch.inference_mode()
    def first(self, index: int) -> dict[str, Any]:
        """Run the first pass over a workload; return its result's corner and its memory, tiles and FLOPs."""
        workload = self.case.workloads[index]
        self.images = self.images.new_empty(0)
        if self.device.type == "cuda":
            self.memory = PeakMemory(self.device)
        self.images = images_of(workload, self.case.network.channels).to(self.device)
        self.last, result = seconds(self.runner, self.images, self.device)
        return {
            "corner": result[:, :CORNER_SIDE, :CORNER_SIDE].float().clamp(0, 1).cpu().numpy(),
            "memory": self.memory.growth(),
            "kept": self.images.nbytes + (result.nbytes if result.device == self.device else 0),
            "tiles": self.runner.tiles(workload.height, workload.width) * workload.images,
            "flops": self.runner.flops,
        }

    @torch.inference_mode()
    def time(self) -> float:
        """Return the seconds of one pass."""
        if self.last < WARM_UP_BELOW_S:
            self.runner.run(self.images)
        self.last, _ = seconds(self.runner, self.images, self.device)
        return self.last


def images_of(workload: Workload, channels: int) -> Tensor:
    """Return noise (N, C, H, W) in [0, 1], the same in every process."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(workload.images, channels, workload.height, workload.width, generator=generator)
