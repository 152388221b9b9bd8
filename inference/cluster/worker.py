"""A worker of a cluster: an actor of Ray that holds the model on one device and computes one task at a time."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...version import version
from ..errors import UpscaleError
from ..pool import Work, portable
from ..spec import UpscalerSpec
from ..upscaler import Upscaler
from .files import FileStamp, FileTask, NodeFiles

_NEWS_SECONDS = 5.0  # after which `news` returns without any
_REPORT_SECONDS = 0.5  # between two reports of a task


@dataclass(frozen=True)
class WorkerSetup:
    """Everything a worker is made of.

    Attributes:
        spec: of the upscaler.
        models: its checkpoints, as `UpscalerSpec.models` names them.
        device: to compute on.
        threads: of PyTorch; 0: as many as it chooses.
        machine: name of the worker's machine, for errors.
        versions: of the packages that decide results, on the machine that distributes the tasks.
        pool: random name of the pool.
        shared: as `RayPool` takes it.
        reader: remote function of Ray that reads files of the machine that distributes the tasks.
    """

    spec: UpscalerSpec
    models: Sequence[FileStamp]
    device: str
    threads: int
    machine: str
    versions: dict[str, str]
    pool: str
    shared: bool | None
    reader: Any


@dataclass(frozen=True)
class Job:
    """A task and what is needed to compute it; `inputs` are those of a `FileTask`."""

    number: int
    work: Work[Any]
    task: Any
    inputs: Sequence[FileStamp] = ()
    run: str = ""


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide results, by name."""
    found = {"Supertile": version(), "PyTorch": torch.__version__}
    with suppress(importlib.metadata.PackageNotFoundError):
        found["PyAV"] = importlib.metadata.version("av")
    return found


class ClusterWorker:
    """An actor: its methods return ("finished", value), ("failed", exception) or ("unusable", exception).

    `run` computes, in one thread; all others answer meanwhile.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)
        self._setup = setup
        self._upscaler: Upscaler | None = None
        self._files: NodeFiles | None = None
        self._changed = threading.Condition()
        self._news: tuple[int, Any] | None = None  # (number of the job, its latest report)
        self._cancelled: set[int] = set()

    def greet(self) -> tuple[str, Any]:
        """Answer, as a sign that the process has begun."""
        return "finished", None

    def start(self, precision: str) -> tuple[str, Any]:
        """Load the model, and return the name of the precision that it computes in."""
        setup = self._setup
        try:
            for name, version in setup.versions.items():
                if (here := versions().get(name)) != version:
                    raise UpscaleError(
                        f"{setup.machine} has {name} {here or 'not at all'}, this machine {version}; install the same "
                        "version on all machines of a cluster."
                    )
            if setup.threads:
                torch.set_num_threads(setup.threads)
            self._files = NodeFiles(setup.pool, setup.machine, self._read, setup.shared)
            models = [self._files.locate(model, "model") for model in setup.models]
            spec = setup.spec.with_models(models).with_settings(precision=precision)
            self._upscaler = spec.build(setup.device)
            return "finished", self._upscaler.precision
        except Exception as error:
            return "unusable", portable(error)

    def run(self, job: Job) -> tuple[str, Any]:
        """Compute a task and return its result; for a `FileTask`, (result, paths of its outputs)."""
        assert self._upscaler is not None
        assert self._files is not None

        def cancelled() -> bool:
            return job.number in self._cancelled

        try:
            task = job.task
            if isinstance(task, FileTask):
                try:
                    task = self._moved(task, job, self._files, cancelled)
                except UpscaleError as error:
                    return "unusable", portable(error)
            value = job.work(self._upscaler, task, self._reporter(job.number), cancelled)
            if isinstance(task, FileTask):
                value = value, task.outputs()
            return "finished", value
        except Exception as error:
            return "failed", portable(error)
        finally:
            self._cancelled.discard(job.number)

    def _moved(self, task: FileTask, job: Job, files: NodeFiles, cancelled: Callable[[], bool]) -> FileTask:
        places = {stamp.path: files.locate(stamp, job.run, cancelled) for stamp in job.inputs}
        seen = any(path == place and path.parent == task.folder for path, place in places.items())
        return task.moved(places, files.place(task.folder, seen=seen))

    def _reporter(self, number: int) -> Callable[[Any], None]:
        latest = 0.0

        def report(value: Any) -> None:
            nonlocal latest
            if (now := time.monotonic()) - latest >= _REPORT_SECONDS:
                latest = now
                with self._changed:
                    self._news = number, value
                    self._changed.notify_all()

        return report

    def news(self, seen: tuple[int, Any] | None) -> tuple[int, Any] | None:
        """Return (number of the job, latest report) as soon as it differs from `seen`, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._news != seen, _NEWS_SECONDS)
            return self._news

    def cancel(self, number: int) -> None:
        """Let a job end with `Cancelled`."""
        self._cancelled.add(number)

    def take_output(self, path: Path) -> bytes:
        """Return the content of a result that the machine which distributes the tasks does not see, and delete it."""
        content = path.read_bytes()
        path.unlink()
        return content

    def clear(self, run: str) -> None:
        """Delete the files of a run."""
        if self._files is not None:
            self._files.clear(run)

    def close(self) -> None:
        """Delete all files."""
        if self._files is not None:
            self._files.clear("model")
            self._files.close()
            self._files = None

    def _read(self, path: Path, offset: int, size: int) -> bytes:
        import ray

        try:
            return ray.get(self._setup.reader.remote(path, offset, size))
        except ray.exceptions.RayError as error:
            raise UpscaleError(f"{path} cannot be sent to {self._setup.machine}.") from error
