"""Machines that Ray joins to a cluster share one job: a worker for each GPU, which take tasks from one queue.

Ray starts the workers, notices that one has died, and moves data. `RayPool` has the interface of `UpscalerPool`, and is
used where that is.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ...weights.bundle import resolve
from ..errors import Cancelled, UpscaleError
from ..pool import MAX_ATTEMPTS, Event, T, Work
from ..spec import UpscalerSpec
from .connection import connect, import_ray
from .files import FileStamp, FileTask, deliver
from .queue import TaskQueue, Ticket
from .remote import Key, RemoteWorker
from .worker import ClusterWorker, Job, WorkerSetup, versions

_log = logging.getLogger(__name__)
_NODES_SECONDS = 2.0  # between two looks for new machines
_START_SECONDS = 60.0  # without any worker, after which a warning says so
_STOP_SECONDS = 10.0  # after which a worker that was asked to stop is killed


@dataclass(eq=False)
class _Check:
    """A task that every worker computes first; see `RayPool.check_devices`."""

    work: Work[Any]
    task: Any
    compare: Callable[[Event[Any], Event[Any]], None]
    first: Event[Any] | None = None


class RayPool:
    """Workers of a Ray cluster, with a model on a device each.

    Every GPU of the cluster gets a worker, also those of machines that join later; in a cluster without GPUs every
    machine gets `cpu_workers`. A worker computes one task at a time. When it dies, another takes its task. A task that
    takes much longer than others is given to a second worker once one is idle; the first result counts.

    Args:
        spec: of the upscaler. If its precision is "auto", the first worker chooses for all.
        address: of the cluster, HOST:PORT; "auto": the one that this machine belongs to; "local": start Ray on this
            machine, until `close`.
        cpu_workers: for each machine of a cluster without GPUs.
        shared: True if all machines see the files of tasks under the same paths; False: copy them. None: find out.
        patience: a task is slow when it takes this many times the median of the others.
        warn: called with a sentence for each device that cannot be used.

    Raises:
        UpscaleError: Ray is not installed, the cluster cannot be reached, or the model's file cannot be read.

    Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        spec: UpscalerSpec,
        address: str = "local",
        *,
        cpu_workers: int = 1,
        shared: bool | None = None,
        patience: float = 3.0,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self.spec, self._cpu_workers, self._patience, self._warn = spec, cpu_workers, patience, warn
        models = [_stamp(resolve(model)) for model in spec.models]
        self._ray = import_ray()
        self._owns_ray = connect(self._ray, address)
        self._gpu = any(_count(node, "GPU") for node in self._nodes())
        self._setup = WorkerSetup(
            spec=spec,
            models=models,
            device="cuda" if self._gpu else "cpu",
            threads=0,
            machine="",
            versions=versions(),
            pool=secrets.token_hex(8),
            shared=shared,
            reader=self._reader(),
        )
        self._precision = str(dict(spec.settings).get("precision", "auto"))
        self._workers: dict[Key, RemoteWorker] = {}
        self._deaths: dict[Key, int] = {}  # in a row
        self._excluded: set[Key] = set()
        self._alive: set[str] = set()
        self._numbers = iter(range(1, 2**62))
        self._check: _Check | None = None
        self._waits_since: float | None = time.monotonic()
        self._look_for_nodes()

    @property
    def devices(self) -> list[str]:
        """Device and machine of the workers that are ready."""
        return [worker.label for worker in self._workers.values() if worker.ready]

    def precision(self, cancelled: Callable[[], bool] = lambda: False) -> str:
        """Return the precision of all workers, once the first has started. Raises Cancelled, UpscaleError."""
        while self._precision == "auto":
            self._step(cancelled)
        return self._precision

    def check_devices(
        self,
        work: Work[T],
        task: T,
        compare: Callable[[Event[T], Event[T]], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Let each worker, in the runs from now on, first compute the same task, and compare the results.

        Args:
            work, task: as in `run`.
            compare: called with the events of the first worker and of another; raises an error if they differ.
            cancelled: not called here.
        """
        self._check = _Check(work, task, compare)

    def run(
        self, work: Work[T], tasks: Iterable[T], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Event[T]]:
        """Compute all tasks, each by the next worker that is free, and yield what happens.

        Args:
            work: a function of a module's top level.
            tasks: picklable; taken as late as possible. The files of a `FileTask` are copied to machines that do not
                see them, and its results are moved to their place.
            cancelled: called ten times a second; when it returns True, `Cancelled` is raised.

        Yields:
            Events as `UpscalerPool.run`. Of reports that follow each other closely, only the last is yielded.

        Raises:
            Cancelled: `cancelled` returned True.
            UpscaleError: no machine can load the model, or has the files.
        """
        queue = TaskQueue(tasks, self._patience)
        run = secrets.token_hex(8)
        stamps: dict[Path, FileStamp] = {}
        try:
            while not queue.empty:
                self._assign(work, queue, run, stamps)
                for worker, kind, value in self._step(cancelled):
                    if isinstance(worker.tag, _Check):
                        self._pass_check(worker, kind, value)
                    elif worker.tag is not None:
                        yield from self._events(worker, kind, value, queue)
        finally:
            self._interrupt(run)

    def _assign(self, work: Work[T], queue: TaskQueue[T], run: str, stamps: dict[Path, FileStamp]) -> None:
        """Give a task to each worker that is idle."""
        for worker in self._workers.values():
            if not worker.is_idle:
                continue
            ticket = queue.take()
            if ticket is None:
                return
            task, tag = ticket.task, cast(Any, ticket)
            if self._check is not None and worker.passed is not self._check:
                queue.put_back(ticket)
                function, task, tag = self._check.work, self._check.task, self._check
            else:
                queue.begin(ticket, worker.key)
                function = work
            paths = task.inputs() if isinstance(task, FileTask) else ()
            inputs = [stamps.get(path) or stamps.setdefault(path, _stamp(path)) for path in paths]
            worker.begin(Job(next(self._numbers), function, task, inputs, run), tag)

    def _events(self, worker: RemoteWorker, kind: str, value: Any, queue: TaskQueue[T]) -> Iterator[Event[T]]:
        """Yield what an answer or a report of a worker means for its task."""
        ticket: Ticket[T] = worker.tag
        if kind == "report":
            if not ticket.done:
                yield Event("report", ticket.task, worker.label, value)
            return
        worker.tag = None
        if ticket.done:  # another worker was faster
            queue.leave(ticket, worker.key)
            return
        if kind == "finished" and isinstance(ticket.task, FileTask):
            value, outputs = value
            if not self._delivered(worker, ticket.task, outputs):
                kind = "lost"
        queue.leave(ticket, worker.key, finished=kind == "finished")
        if kind == "finished":
            self._deaths.pop(worker.key, None)
            for key in ticket.workers:
                if key in self._workers:
                    self._workers[key].cancel()
            yield Event("finished", ticket.task, worker.label, value)
        elif kind == "failed":
            yield Event("failed", ticket.task, worker.label, value)
        elif kind == "unusable":
            queue.put_back(ticket)
            self._exclude(worker, value)
        else:
            ticket.deaths += worker.node in self._alive  # a machine that leaves says nothing of the task
            if ticket.deaths >= MAX_ATTEMPTS:
                error = UpscaleError(f"{MAX_ATTEMPTS} workers have died while they computed this, {worker.label} last.")
                yield Event("failed", ticket.task, worker.label, error)
            else:
                queue.put_back(ticket)
                yield Event("lost", ticket.task, worker.label)

    def _pass_check(self, worker: RemoteWorker, kind: str, value: Any) -> None:
        """Compare the result of a worker's first task with that of the first worker."""
        if kind == "report":
            return
        check, worker.tag = worker.tag, None
        if kind == "failed":
            raise value
        if kind == "unusable":
            self._exclude(worker, value)
        elif kind == "finished":
            result = value[0] if isinstance(check.task, FileTask) else value
            event = Event(kind, check.task, worker.label, result)
            if check.first is None:
                check.first = event
            else:
                check.compare(check.first, event)
            worker.passed = check

    def _delivered(self, worker: RemoteWorker, task: FileTask, outputs: Iterable[Path]) -> bool:
        """Move the results of a task to their place; return False if their machine is gone."""
        try:
            for path in outputs:
                deliver(path, task.folder, worker.take_output)
        except self._ray.exceptions.RayError:
            return False
        except OSError as error:
            raise UpscaleError(f"A result cannot be written to {task.folder}: {error.strerror}.") from error
        return True

    def _step(self, cancelled: Callable[[], bool]) -> list[tuple[RemoteWorker, str, Any]]:
        """Wait for answers, a tenth of a second at most; return those to jobs, as (worker, kind, value)."""
        if time.monotonic() - self._looked >= _NODES_SECONDS:
            self._look_for_nodes()
        self._start_workers()
        pending = {reference: worker for worker in self._workers.values() for reference in worker.pending()}
        arrived: list[Any] = []
        if pending:
            arrived, _ = self._ray.wait(list(pending), num_returns=1, timeout=0.1)
        else:
            time.sleep(0.1)
        answers = []
        for reference in arrived:
            worker = pending[reference]
            answer = worker.receive(reference)
            if answer is not None and answer[0] == "lost":
                self._forget(worker, answer[1])
            if answer is not None and worker.job is not None:
                answers.append((worker, *answer))
            elif answer is not None:
                self._note_start(worker, *answer)
        if cancelled():
            raise Cancelled("the upscaling was cancelled")
        return answers

    # --- workers -------------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        """Let workers load the model; if the precision is open, the first that is there, which decides it."""
        for worker in self._workers.values():
            undecided = self._precision == "auto" and any(other.is_starting for other in self._workers.values())
            if worker.is_waiting_to_start and not undecided:
                worker.start(self._precision)

    def _note_start(self, worker: RemoteWorker, kind: str, value: Any) -> None:
        """Note that a worker's process has begun, or has loaded the model, or cannot."""
        if kind == "unusable":
            self._exclude(worker, value)
        elif kind == "finished" and not worker.reachable:
            worker.reachable = True
        elif kind == "finished":
            worker.ready = True
            self._precision = value

    def _forget(self, worker: RemoteWorker, error: Exception) -> None:
        """Note that a worker has died; if that happens again and again on a machine that lives, exclude it."""
        self._workers.pop(worker.key, None)
        worker.kill()
        self._alive = {node["NodeID"] for node in self._nodes()}
        self._deaths[worker.key] = self._deaths.get(worker.key, 0) + 1
        if worker.node in self._alive and self._deaths[worker.key] >= MAX_ATTEMPTS:
            last_line = str(error).strip().splitlines()[-1:]
            self._exclude(worker, UpscaleError(f"Workers on {worker.label} die: {''.join(last_line)}"))

    def _exclude(self, worker: RemoteWorker, error: Exception) -> None:
        """Use a device no more. Raises the error if it is the last."""
        self._excluded.add(worker.key)
        self._workers.pop(worker.key, None)
        worker.kill()
        if not self._workers:
            raise error
        self._warn(f"{worker.label} is not used: {error}")

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _look_for_nodes(self) -> None:
        """Create the workers that are missing."""
        self._looked = time.monotonic()
        nodes = self._nodes()
        self._alive = {node["NodeID"] for node in nodes}
        for node in nodes:
            for slot in range(_count(node, "GPU") if self._gpu else self._cpu_workers):
                key = node["NodeID"], slot
                if key not in self._workers and key not in self._excluded:
                    self._workers[key] = self._create(node, key)
        if any(worker.ready for worker in self._workers.values()):
            self._waits_since = None
        elif self._waits_since is not None and self._looked - self._waits_since > _START_SECONDS:
            self._waits_since = None
            kind = "GPU" if self._gpu else "processor"
            self._warn(f"No worker has started for a minute; perhaps every {kind} of the cluster is taken.")

    def _create(self, node: dict[str, Any], key: Key) -> RemoteWorker:
        """Create a worker on a machine, which starts as soon as Ray has resources for it there."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus = 1 if self._gpu else max(1, _count(node, "CPU") // self._cpu_workers)
        machine = node["NodeManagerHostname"]
        number = "" if self._cpu_workers == 1 else f":{key[1]}"
        label = f"{f'cuda:{key[1]}' if self._gpu else f'cpu{number}'} on {machine}"
        if sum(other["NodeManagerHostname"] == machine for other in self._nodes()) > 1:
            label += f" ({key[0][:6]})"
        options = {
            "num_cpus": cpus,
            "num_gpus": 1 if self._gpu else 0,
            "max_restarts": 0,
            "concurrency_groups": {"control": 2},
            "scheduling_strategy": NodeAffinitySchedulingStrategy(key[0], soft=False),
        }
        setup = replace(self._setup, machine=machine, threads=0 if self._gpu else cpus)
        return RemoteWorker(self._ray, key, label, self._ray.remote(**options)(ClusterWorker).remote(setup))

    def _reader(self) -> Any:
        """Return a remote function that reads files of this machine, wherever it is called."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        def read(path: Path, offset: int, size: int) -> bytes:  # nested, so that Ray sends its code, not its name
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size)

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        return self._ray.remote(num_cpus=0, scheduling_strategy=here)(read)

    # --- the end -------------------------------------------------------------------------------------------------

    def _interrupt(self, run: str) -> None:
        """Cancel the jobs that are still computed, wait for their workers, and let all delete the files of a run."""
        end = time.monotonic() + _STOP_SECONDS
        busy = [worker for worker in self._workers.values() if worker.ready and not worker.is_idle]
        for worker in busy:
            worker.cancel()
        while busy and time.monotonic() < end:
            pending = {reference: worker for worker in busy for reference in worker.pending()}
            for reference in self._ray.wait(list(pending), timeout=0.5)[0]:
                pending[reference].receive(reference)
            busy = [worker for worker in busy if not worker.is_idle]
        for worker in busy:
            worker.kill()
            self._workers.pop(worker.key, None)
        for worker in self._workers.values():
            worker.job = worker.tag = None
        self._wait([worker.clear(run) for worker in self._workers.values() if worker.ready])

    def _wait(self, references: list[Any]) -> None:
        with suppress(self._ray.exceptions.RayError):
            if references:
                self._ray.wait(references, num_returns=len(references), timeout=_STOP_SECONDS)

    def close(self) -> None:
        """End the workers, and Ray if it was started here."""
        if self._ray.is_initialized():
            self._wait([worker.close() for worker in self._workers.values() if worker.ready])
            for worker in self._workers.values():
                worker.kill()
            if self._owns_ray:
                self._ray.shutdown()
        self._workers.clear()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stamp(path: Path) -> FileStamp:
    try:
        return FileStamp.of(path)
    except OSError as error:
        raise UpscaleError(f"{path} cannot be read: {error.strerror}.") from error


def _count(node: dict[str, Any], resource: str) -> int:
    """Return how many whole units of a resource a machine has."""
    return int(node["Resources"].get(resource, 0))
