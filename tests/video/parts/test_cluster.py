"""Two machines of Ray on the loopback compute a video; one loses its worker, goes away, and another joins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from supertile.inference.cluster.connection import import_ray
from supertile.inference.cluster.pool import RayPool
from supertile.inference.errors import Cancelled, UpscaleError
from supertile.video.parts.folder import JOBS
from supertile.video.parts.job import JobOptions
from supertile.video.parts.worker import compute_part
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions

from .conftest import RATE, digest

# Other processes of a busy machine are no reason to kill workers.
os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112
try:
    import_ray()
except UpscaleError as error:
    pytest.skip(str(error), allow_module_level=True)
if not Path("/proc/self/stat").exists():
    pytest.skip("workers are found by their parents in /proc", allow_module_level=True)

MACHINE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
# Unlike x264 for frames this small, x265 makes the same bytes each time.
OPTIONS: dict[str, Any] = {"job": JobOptions(part_seconds=1), "encoder": EncoderOptions("hevc", preset="ultrafast")}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=MACHINE)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def source(clip) -> Path:
    return clip("hevc")


@pytest.fixture(scope="module")
def expected(upscaler, source, tmp_path_factory) -> dict[str, Any]:
    """The result of a run in this process without interruption."""
    target = tmp_path_factory.mktemp("expected") / "target.mkv"
    upscale_video(source, target, upscaler, **OPTIONS)
    return digest(target)


class Directed:
    """A pool whose workers compute another function, and whose events are kept."""

    def __init__(self, pool: RayPool, work: Callable[..., Any]) -> None:
        self._pool, self._work, self.events = pool, work, []
        self.check_devices = pool.check_devices

    def run(self, work: Callable[..., Any], tasks: Any, *, cancelled: Callable[[], bool]) -> Iterator[Any]:
        for event in self._pool.run(self._work, tasks, cancelled=cancelled):
            self.events.append(event)
            yield event

    def devices(self, kind: str) -> list[str]:
        return [event.device for event in self.events if event.kind == kind]


def held_at(gate: Path) -> Callable[..., int]:
    """Compute parts, and stop in the middle of those whose number is not below that in a file."""

    def work(upscaler: Any, task: Any, report: Callable[[int], None], cancelled: Callable[[], bool]) -> int:
        def hold(frames: int) -> None:
            report(frames)
            while frames == 3 and task.index >= int(gate.read_text()) and not cancelled():
                time.sleep(0.05)

        return compute_part(upscaler, task, hold, cancelled)

    return work


def kill_worker(node: Any) -> None:
    """Kill the process of a machine's actor as `kill -9` does."""
    raylet = node.all_processes["raylet"][0].process.pid
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and b"ClusterWorker" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


def is_on(node: Any, device: str) -> bool:
    return node.node_id[:6] in device


def test_a_video_is_whole_after_the_death_of_a_worker_and_the_change_of_machines(
    cluster, spec, upscaler, source, expected, tmp_path, capfd
):
    gate, target = tmp_path / "gate", tmp_path / "target.mkv"
    gate.write_text("2")
    leaving, joining = cluster.add_node(**MACHINE), None
    warnings: list[str] = []
    with RayPool(spec, cluster.address) as pool:
        directed = Directed(pool, held_at(gate))

        def direct() -> Iterator[None]:
            """Do what happens to the cluster, each time as far as the job has come."""
            nonlocal joining
            while not any(is_on(leaving, device) for device in directed.devices("report")):
                yield
            kill_worker(leaving)
            while not directed.devices("lost"):
                yield
            directed.events = [event for event in directed.events if event.kind == "lost"]
            joining = cluster.add_node(**MACHINE)
            while not all(
                any(is_on(node, device) for device in directed.devices("report")) for node in (leaving, joining)
            ):
                yield
            cluster.remove_node(leaving, allow_graceful=False)
            while len(directed.devices("lost")) < 2:
                yield
            gate.write_text("1000")

        steps, deadline = direct(), time.monotonic() + 180
        report = upscale_video(
            source,
            target,
            upscaler,
            **OPTIONS,
            pool=directed,  # type: ignore[arg-type]
            cancelled=lambda: next(steps, False) is True or time.monotonic() > deadline,
            warn=warnings.append,
        )
        assert list(steps) == []
        assert len(pool.devices) == 2
    assert digest(target) == expected
    assert report.frames == 8 * RATE
    assert all(is_on(leaving, device) for device in directed.devices("lost"))
    assert any(is_on(joining, device) for device in report.frames_by_device)
    # A sentence is said once, even if it becomes true twice.
    assert {warning.split("ended")[1] for warning in warnings} == {" unexpectedly. Its part is computed again."}
    assert not (tmp_path / JOBS).exists()
    assert "raylet" not in "".join(capfd.readouterr())


@pytest.fixture(scope="module")
def distant(cluster, spec) -> Iterator[RayPool]:
    """A pool as of machines that do not see the files of this one."""
    with RayPool(spec, cluster.address, cpu_workers=2, shared=False, patience=1.5) as pool:
        yield pool


def test_a_slow_worker_is_overtaken_and_files_are_sent(distant, upscaler, source, expected, tmp_path):
    target, slow = tmp_path / "target.mkv", tmp_path / "slow"

    def work(upscaler: Any, task: Any, report: Callable[[int], None], cancelled: Callable[[], bool]) -> int:
        if task.index == 3 and not slow.exists():
            slow.touch()
            while not cancelled():
                time.sleep(0.05)
        return compute_part(upscaler, task, report, cancelled)

    directed = Directed(distant, work)
    upscale_video(source, target, upscaler, pool=directed, **OPTIONS)  # type: ignore[arg-type]
    assert digest(target) == expected
    finished = [event.task.index for event in directed.events if event.kind == "finished"]
    assert sorted(finished) == list(range(7))
    assert len(directed.events) == len(directed.devices("finished")) + len(directed.devices("report"))
    assert not (tmp_path / JOBS).exists()


def test_a_job_that_is_cancelled_goes_on_from_there(distant, upscaler, source, expected, tmp_path):
    target, gate = tmp_path / "target.mkv", tmp_path / "gate"
    gate.write_text("4")
    directed, sentences = Directed(distant, held_at(gate)), []
    options: dict[str, Any] = {"pool": directed, "inform": sentences.append, **OPTIONS}
    started = time.monotonic()
    with pytest.raises(Cancelled):
        upscale_video(source, target, upscaler, cancelled=lambda: len(directed.devices("finished")) == 4, **options)
    assert time.monotonic() - started < 60
    assert sentences[-1].startswith("4 of 7 parts")
    gate.write_text("1000")
    report = upscale_video(source, target, upscaler, **options)
    assert 0 < report.resumed_frames < report.frames == 8 * RATE
    assert digest(target) == expected
