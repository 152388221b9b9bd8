"""A training from the command line: what is written beside it, how it ends and how it goes on.

A run is a folder: `state.pt` to go on from, `log.txt` with a line for each interval, `events...` for TensorBoard where
it is installed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .trainer import Trainer
from .validation import Validation

Say = Callable[[str], None]
STATE = "state.pt"


def train(trainer: Trainer, run: Path, *, every: int, validation: Validation | None, say: Say) -> None:
    """Train to the end. Every `every` steps and at the end a checkpoint is written.

    Ctrl-C and SIGTERM let the step under way finish and write one too, before KeyboardInterrupt is raised.
    """
    run.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    began = time.monotonic()
    with _tensorboard(run) as scalar, (run / "log.txt").open("a", encoding="utf-8") as log, _asked_to_stop() as asked:
        for loss in trainer.run():
            losses.append(loss)
            if asked:
                trainer.save(run / STATE)
                raise KeyboardInterrupt
            if trainer.step % every and trainer.step < trainer.config.steps:
                continue
            scalars = {"loss": sum(losses) / len(losses), "learning rate": trainer.rate}
            scalars["steps per second"] = len(losses) / (time.monotonic() - began)
            if validation is not None:
                scalars["PSNR"] = validation.measure(trainer.average.net)
            trainer.save(run / STATE)
            line = f"step {trainer.step} " + " ".join(f"{name} {value:.5g}" for name, value in scalars.items())
            say(line)
            print(line, file=log, flush=True)
            for name, value in scalars.items():
                scalar(name, value, trainer.step)
            losses.clear()
            began = time.monotonic()


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Yield a list that holds the first signal once it has arrived; raise KeyboardInterrupt at the second."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = [(number, signal.signal(number, note)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield asked
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def _tensorboard(run: Path) -> Iterator[Callable[[str, float, int], Any]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda name, value, step: None
        return
    with SummaryWriter(str(run)) as writer:
        yield writer.add_scalar
