"""Contenders take turns: each in a process of its own, one pass of each in every round.

Nobody profits or suffers from another's allocator, caches or imports, and what the machine does meanwhile meets all of
them alike; so what counts is the ratio of times from one run.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor

from .cases import Case, Input
from .contenders import PEAK, Contender, Runner, Setup, build, contenders_of, seconds
from .errors import BenchError
from .peak_memory import PeakMemory

WARM_BELOW = 1.0
"""Seconds. A shorter pass is preceded by one that is not timed: while others had their turn, its data left the caches.
To a longer one that makes no difference."""

CORNER = 128  # pixels of the result's side that are compared


@dataclass
class Measured:
    """A contender on one input. Times in seconds, memory in bytes; `agreement` with the first contender in dB.

    kept: the bytes of the images that go in and of the one result that a pass keeps.
    """

    case: Case
    contender: Contender
    input: Input
    times: list[float] = field(default_factory=list)
    memory: int | None = None
    kept: int = 0
    tiles: list[tuple[int, int]] = field(default_factory=list)
    difference: float | None = None
    agreement: float | None = None
    flops: float | None = None  # of one pass, where the contender is a convolution
    failed: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """The slowest pass over the fastest."""
        return max(self.times) / min(self.times)


def measure(
    case: Case, setup: Setup, rounds: int, progress: Callable[[str], None] = lambda what: None
) -> list[Measured]:
    """All contenders of a case on all its inputs, the inputs one after the other.

    A contender that fails (its code raises, memory ends) stays out from there on, its sentence in `failed`.
    progress: called with what is done next. Raises BenchError where the one that all are held against fails.
    """
    contenders = contenders_of(case, setup)
    found: list[Measured] = []
    with _seated(case, contenders, setup) as seats:
        for i, shown in enumerate(case.inputs):
            results = {seat.contender: Measured(case, seat.contender, shown) for seat in seats}
            found += results.values()
            corners: dict[Contender, Tensor] = {}
            for seat in seats:
                progress(f"{case.network.name} {shown}: {seat.contender.name}")
                first = seat.ask(("first", i))
                if first is not None:
                    measured = results[seat.contender]
                    corners[seat.contender] = torch.from_numpy(first["corner"])
                    measured.memory, measured.kept = first["memory"], first["kept"]
                    measured.tiles, measured.flops = first["tiles"], first["flops"]
            for round_ in range(rounds):
                progress(f"{case.network.name} {shown}: round {round_ + 1} of {rounds}")
                for seat in _turned(seats, round_):
                    time = seat.ask(("time", i))
                    if time is not None:
                        results[seat.contender].times.append(time)
            _compare(results, corners, contenders[0])
            for seat in seats:
                results[seat.contender].failed = seat.failed
            if seats[0].failed:
                raise BenchError(f"{case.network.name}, {contenders[0].name}: {seats[0].failed}")
            seats = [seat for seat in seats if not seat.failed]
    return found


def _turned(seats: list[_Seat], round_: int) -> list[_Seat]:
    """Each round begins with another, so that nobody always follows the same."""
    start = round_ % len(seats)
    return seats[start:] + seats[:start]


def _compare(results: dict[Contender, Measured], corners: dict[Contender, Tensor], first: Contender) -> None:
    for contender, corner in corners.items():
        if contender.way == PEAK or first not in corners:
            continue
        error = (corner - corners[first]).double()
        square = error.square().mean().item()
        results[contender].difference = error.abs().max().item()
        results[contender].agreement = -10 * math.log10(square) if square > 0 else math.inf


# --- here: the seats of the contenders ---------------------------------------------------------------------------


class _Seat:
    """A contender's process, and the pipe to it."""

    def __init__(self, contender: Contender, process: BaseProcess, pipe: Connection) -> None:
        self.contender, self.process, self.pipe = contender, process, pipe
        self.failed = ""

    def ask(self, message: tuple[str, int]) -> Any:
        """The answer, or None when it has failed, now or before."""
        if self.failed:
            return None
        try:
            self.pipe.send(message)
            kind, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            kind, answer = "failed", f"its process ended ({self.process.exitcode})"
        if kind == "failed":
            self.failed = str(answer)
            return None
        return answer


@contextmanager
def _seated(case: Case, contenders: list[Contender], setup: Setup) -> Iterator[list[_Seat]]:
    context = _context()
    seats = []
    try:
        for contender in contenders:
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, case, contender, setup), daemon=True)
            process.start()
            there.close()
            seats.append(_Seat(contender, process, here))
        yield list(seats)
    finally:
        for seat in seats:
            seat.pipe.close()  # which ends its loop; one in the middle of a pass has to be ended
        for seat in seats:
            seat.process.join(0.2)
            if seat.process.is_alive():
                seat.process.kill()
            seat.process.join()


def _context() -> Any:
    """Forked from a process that has imported the libraries and computed nothing, where that is sound; else anew."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload([__name__])
    return multiprocessing.get_context("forkserver")


# --- there: in a contender's process -----------------------------------------------------------------------------


def serve(pipe: Connection, case: Case, contender: Contender, setup: Setup) -> None:
    """Builds the contender when it is first asked for something, then answers ("first" or "time", which input)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    warnings.simplefilter("ignore")  # those of others' code
    try:
        what, index = pipe.recv()
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        at_work = _AtWork(build(contender, case.network, setup), case, torch.device(setup.device))
        while True:
            pipe.send(("done", at_work.first(index) if what == "first" else at_work.time()))
            what, index = pipe.recv()
    except (EOFError, BrokenPipeError):  # nobody asks any more
        return
    except Exception as error:
        sentence = str(error).strip().partition("\n")[0][:200]
        pipe.send(("failed", sentence if isinstance(error, BenchError) else f"{type(error).__name__}: {sentence}"))


class _AtWork:
    """A contender that has been built, with the images of the input that it is asked for."""

    def __init__(self, runner: Runner, case: Case, device: torch.device) -> None:
        self.runner, self.case = runner, case
        self.images = torch.empty(0, device=device)
        self.device = self.images.device  # with its number
        self.memory = PeakMemory(device)
        self.last = 0.0

    @torch.inference_mode()
    def first(self, index: int) -> dict[str, Any]:
        """The first pass over an input, for what it gives and takes; memory with the images themselves."""
        shown = self.case.inputs[index]
        self.images = self.images.new_empty(0)
        if self.device.type == "cuda":
            self.memory = PeakMemory(self.device)
        self.images = images_of(shown, self.case.network.channels).to(self.device)
        self.last, result = seconds(self.runner, self.images, self.device)
        return {
            "corner": result[:, :CORNER, :CORNER].float().clamp(0, 1).cpu().numpy(),
            "memory": self.memory.growth(),
            "kept": self.images.nbytes + (result.nbytes if result.device == self.device else 0),
            "tiles": self.runner.tiles(shown.height, shown.width) * shown.images,
            "flops": self.runner.flops,
        }

    @torch.inference_mode()
    def time(self) -> float:
        if self.last < WARM_BELOW:
            self.runner.run(self.images)
        self.last, _ = seconds(self.runner, self.images, self.device)
        return self.last


def images_of(shown: Input, channels: int) -> Tensor:
    """Noise, the same in every process; (N, C, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(shown.images, channels, shown.height, shown.width, generator=generator)
