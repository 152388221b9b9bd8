"""The pool's side of a worker: which task it has, and the objects of Ray that its answers arrive in."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from .worker import Job

_OUTPUT_SECONDS = 600.0  # that sending a result may take

Key = tuple[str, int]
"""(Ray's id of a machine, number of the worker on it)."""


class RemoteWorker:
    """An actor of Ray, from its creation to its death.

    Args:
        ray: the module.
        key: of the worker.
        label: device and machine, for users.
        actor: handle of a `ClusterWorker`.

    Attributes:
        reachable: True once the actor's process has begun.
        ready: True once it has loaded the model.
        job: that it computes.
        tag: for the owner: what the job belongs to.
        passed: for the owner: the last check that the worker has passed.
    """

    def __init__(self, ray: Any, key: Key, label: str, actor: Any) -> None:
        self._ray, self.key, self.label, self._actor = ray, key, label, actor
        self.reachable = self.ready = False
        self.job: Job | None = None
        self.tag: Any = None
        self.passed: Any = None
        self._answer: Any = actor.greet.remote()
        self._news: Any = None
        self._seen: Any = None

    @property
    def node(self) -> str:
        """Ray's id of the worker's machine."""
        return self.key[0]

    @property
    def is_waiting_to_start(self) -> bool:
        return self.reachable and not self.ready and self._answer is None

    @property
    def is_starting(self) -> bool:
        return self.reachable and not self.ready and self._answer is not None

    @property
    def is_idle(self) -> bool:
        return self.ready and self._answer is None

    def start(self, precision: str) -> None:
        """Let the worker load its model."""
        self._answer = self._actor.start.remote(precision)

    def begin(self, job: Job, tag: Any) -> None:
        """Let the worker compute a job."""
        self.job, self.tag = job, tag
        self._answer = self._actor.run.remote(job)
        self._watch()

    def pending(self) -> list[Any]:
        """Return the objects that an answer will arrive in."""
        return [each for each in (self._answer, self._news) if each is not None]

    def receive(self, reference: Any) -> tuple[str, Any] | None:
        """Return the answer that has arrived in an object, or ("report", value), or ("lost", error); None: nothing."""
        if reference == self._answer:
            self._answer = None
            try:
                return self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                return "lost", error
        self._news = None
        try:
            news = self._ray.get(reference)
        except self._ray.exceptions.RayError:
            return None  # the answer will say so too
        is_new, self._seen = news != self._seen, news
        if self._answer is not None:
            self._watch()
        if not is_new or self.job is None or news[0] != self.job.number:
            return None
        return "report", news[1]

    def cancel(self) -> None:
        """Let the worker end its job with `Cancelled`."""
        if self.job is not None:
            self._control("cancel").remote(self.job.number)

    def take_output(self, path: Path) -> bytes:
        """Return the content of a file of the worker's machine, which is deleted there. Raises ray's RayError."""
        return self._ray.get(self._control("take_output").remote(path), timeout=_OUTPUT_SECONDS)

    def clear(self, run: str) -> Any:
        """Let the worker delete the files of a run; return the object that tells its end."""
        return self._control("clear").remote(run)

    def close(self) -> Any:
        """Let the worker delete all files; return the object that tells its end."""
        return self._control("close").remote()

    def kill(self) -> None:
        """End the worker's process."""
        with suppress(Exception):
            self._ray.kill(self._actor)

    def _watch(self) -> None:
        """Ask for the next report; one question at a time."""
        if self._news is None:
            self._news = self._control("news").remote(self._seen)

    def _control(self, name: str) -> Any:
        """Return a method that answers while a job is computed."""
        return getattr(self._actor, name).options(concurrency_group="control")
