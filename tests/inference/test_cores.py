"""Other programs keep cores busy: threads are given up and taken back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from spandrel.architectures.SwinIR import SwinIR
from supertile import Upscaler
from supertile.arch.other_families import use_kernels
from supertile.inference import cores as module
from supertile.inference import engine
from supertile.inference.between_layers import MOST_HOOKS, between_layers
from supertile.inference.cores import BUSY_CORES, FIRST_TRIAL_S, INTERVAL_S, PATIENCE, Cores, Load
from supertile.inference.gathering import can_gather
from torch import nn

from ..conftest import write_small_vapsr

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


class Told(Load):
    """A load that the test tells, of a machine with eight cores."""

    def __init__(self) -> None:
        self.cores, self.others, self.waiting, self.running = set(range(8)), 0.0, 0.0, 0.0
        self.others_are_running = True

    def measure(self, now: float) -> tuple[float, float, float] | None:
        return self.others, self.waiting, self.running

    def others_run(self) -> bool:
        return self.others_are_running


@pytest.fixture
def small_vapsr(tmp_path) -> str:
    return write_small_vapsr(tmp_path / "vapsr.safetensors")


@pytest.fixture
def cores(monkeypatch) -> Cores:
    now = [0.0]
    monkeypatch.setattr("supertile.inference.cores.time.monotonic", lambda: now[0])
    monkeypatch.setattr("supertile.inference.cores.sleep_at_barriers", lambda wanted: None)
    monkeypatch.setattr("supertile.inference.cores.can_gather", lambda: True)
    cores = Cores(Told())
    cores.later = lambda seconds: now.__setitem__(0, now[0] + seconds)
    return cores


def look(cores: Cores, others: float, waiting: float, most: int = 8, running: float = 0.5) -> int | None:
    cores._load.others, cores._load.waiting, cores._load.running = others, waiting, running
    cores.look(most)
    return cores.threads


@pytest.mark.parametrize(
    ("others", "most", "expected"), [(1, 8, 7), (3.2, 8, 5), (8, 8, 4), (30, 8, 4), (2, 4, 4), (7, 4, 2), (8, 1, 1)]
)
def test_as_many_threads_as_others_leave_cores_but_at_least_half(cores, others, most, expected):
    assert look(cores, others, waiting=0.5, most=most) == expected


def test_programs_that_take_nothing_from_this_one_do_not_matter(cores):
    assert look(cores, others=8, waiting=0.02) is None  # of low priority
    assert look(cores, others=BUSY_CORES / 2, waiting=0.5) is None


def test_all_threads_are_back_when_others_end(cores):
    assert look(cores, others=8, waiting=0.5) == 4
    assert look(cores, others=0, waiting=0.0) is None


def test_all_threads_compute_for_as_long_as_they_are_faster(cores):
    """As beside programs of the same session, from which a system takes more time for more threads."""
    assert look(cores, others=8, waiting=0.5) == 4
    assert look(cores, others=8, waiting=0.05, running=0.67) is None  # a trial
    for running in (0.6, 0.5, 0.4):
        assert look(cores, others=8, waiting=0.5, running=running) is None
    assert look(cores, others=8, waiting=0.5, running=0.35) == 4


def test_all_threads_are_tried_again_at_growing_intervals(cores):
    assert look(cores, others=8, waiting=0.5) == 4
    for wait in (FIRST_TRIAL_S, 2 * FIRST_TRIAL_S, 4 * FIRST_TRIAL_S):
        assert look(cores, others=8, waiting=0.05, running=0.67) is None  # a trial
        assert look(cores, others=8, waiting=0.5, running=0.35) == 4  # in vain
        cores.later(wait - 0.1)
        assert look(cores, others=8, waiting=0.05, running=0.67) == 4
        cores.later(0.2)


def test_a_trial_is_not_judged_by_time_in_which_nothing_was_computed(cores):
    assert look(cores, others=8, waiting=0.5) == 4
    assert look(cores, others=8, waiting=0.05, running=0.67) is None  # a trial
    cores._load.waiting = 0.5
    cores.later(60)
    with cores.shared(8):
        pass
    assert look(cores, others=8, waiting=0.5, running=0.5) is None


def test_programs_that_were_busy_only_during_a_rest_do_not_matter(cores):
    """As those that take turns with this one in a benchmark."""
    cores._load.others, cores._load.waiting, cores._load.others_are_running = 2.0, 0.5, False
    cores.later(60)
    with cores.shared(8):
        assert cores.threads is None
    cores._load.others_are_running = True
    cores.later(60)
    with cores.shared(8):
        assert cores.threads == 6


@linux
def test_others_that_run_are_seen():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        end = time.monotonic() + 120  # it may wait for its own files at first
        while not (seen := Load().others_run()) and time.monotonic() < end:
            time.sleep(0.01)
        assert seen
    finally:
        busy.kill()
        busy.wait()


@linux
@pytest.mark.parametrize(("running", "seen"), [([1], False), ([3, 3, 1], False), ([3] * 1000, True), ([None], True)])
def test_threads_that_still_spin_are_no_others(monkeypatch, running, seen):
    counts = iter(running)
    monkeypatch.setattr(module, "_running_threads", lambda: next(counts))
    assert Load().others_run() is seen


def test_others_of_low_priority_are_noticed_in_a_trial(cores):
    assert look(cores, others=8, waiting=0.5) == 4
    assert look(cores, others=8, waiting=0.0) is None
    assert look(cores, others=8, waiting=0.0) is None
    assert not cores._gives_way


def test_threads_are_gathered_where_fewer_wait_as_well(cores):
    """As beside at least as many programs as there are cores."""
    assert look(cores, others=8, waiting=0.5) == 4
    assert look(cores, others=6, waiting=0.35, running=0.65) == 8
    assert cores.gathered == 4
    for _ in range(9):
        assert look(cores, others=4, waiting=0.5, running=0.5) == 8
    assert look(cores, others=0, waiting=0.5, running=0.5) is None
    assert cores.gathered is None


def test_gathered_threads_are_given_some_looks_until_others_have_moved_away(cores):
    assert look(cores, others=8, waiting=0.5) == 4
    assert look(cores, others=6, waiting=0.35, running=0.65) == 8
    for _ in range(PATIENCE):
        assert look(cores, others=6, waiting=0.6, running=0.3) == 8
    assert look(cores, others=6, waiting=0.6, running=0.3) == 4
    assert cores.gathered is None
    cores.later(FIRST_TRIAL_S - 0.1)
    assert look(cores, others=6, waiting=0.35, running=0.65) == 4
    cores.later(0.2)
    assert look(cores, others=6, waiting=0.35, running=0.65) == 8


def test_an_odd_core_is_no_pair(cores):
    assert look(cores, others=8, waiting=0.5, most=3) == 2
    assert look(cores, others=8, waiting=0.5, most=3) is None
    assert cores.gathered is None


def test_threads_are_those_of_the_argument_while_it_computes_and_no_longer(small_vapsr):
    seen = []
    before = torch.get_num_threads()
    upscaler = Upscaler(small_vapsr, device="cpu", threads=3)
    hook = upscaler._stage.model.model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    upscaler(torch.rand(1, 3, 16, 16), cancelled=lambda: seen.append(torch.get_num_threads()))
    hook.remove()
    assert 3 in seen
    assert torch.get_num_threads() == before


@pytest.fixture
def looks(monkeypatch) -> list[int]:
    """A number for each time that the number of threads is decided anew."""
    seen: list[int] = []
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)
    monkeypatch.setattr(module.CORES, "look", seen.append)
    return seen


def test_threads_are_chosen_anew_within_a_pass_of_any_network(described, looks):
    layers = (nn.Identity() for _ in range(199))
    network = nn.Sequential(nn.Conv2d(3, 3, 1), *layers, nn.Upsample(scale_factor=2))
    upscaler = Upscaler(described(network), device="cpu", precision="fp32", tile=None)
    looks.clear()
    upscaler(torch.rand(1, 3, 8, 8))
    assert 20 < len(looks) <= MOST_HOOKS + 2
    network[200].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        upscaler(torch.rand(1, 3, 8, 8))
    assert not any(each._forward_pre_hooks for each in network.modules())


def test_between_the_stages_of_a_network_memory_is_given_back(described, monkeypatch):
    """And before layers in them, as many as there may be hooks, spread evenly."""
    seen: list[int] = []
    monkeypatch.setattr(engine, "_memory_check", lambda: lambda: seen.append(len(passed)))
    passed: list[nn.Module] = []
    stages = [nn.Sequential(*(nn.Identity() for _ in range(100))) for _ in range(2)]
    network = nn.Sequential(nn.Conv2d(3, 3, 1), *stages, nn.Upsample(scale_factor=2))
    for layer in (each for stage in stages for each in stage):
        layer.register_forward_hook(lambda module, *_: passed.append(module))
    upscaler = Upscaler(described(network), device="cpu", precision="fp32", tile=None)
    seen.clear()
    passed.clear()
    upscaler(torch.rand(1, 3, 8, 8))
    assert len(seen) <= MOST_HOOKS
    assert seen == [0, 0, *(step for step in range(0, 200, 4) for _ in range(2 if step == 100 else 1)), 200]


def test_layers_that_are_never_called_are_not_waited_for():
    """Swin's blocks are computed as a whole; the layers in them are four fifths of all."""
    blocks = SwinIR(upscale=2, img_size=16, window_size=8, depths=[20] * 4, embed_dim=12, num_heads=[2] * 4).eval()
    use_kernels(blocks)
    calls: list[None] = []
    with torch.inference_mode(), between_layers(blocks, lambda: calls.append(None)):
        blocks(torch.rand(1, 3, 16, 16))
    assert 40 <= len(calls) <= MOST_HOOKS


def test_threads_are_chosen_anew_within_a_pass_of_ours(small_vapsr, looks):
    upscaler = Upscaler(small_vapsr, device="cpu", precision="fp32")
    looks.clear()
    upscaler(torch.rand(1, 3, 16, 16))
    assert len(looks) > 2


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_other_numbers_of_threads_are_refused(small_vapsr, threads):
    with pytest.raises(ValueError, match="threads is None or a whole number of at least 1"):
        Upscaler(small_vapsr, threads=threads)


def run_script(script: str, folder: Path) -> str:
    """Run a script in a new process, where nobody has chosen a number of threads; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    # Tests with an AV1 encoder may have left this process in real-time scheduling, which would starve all others.
    ordinary = "import os; os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))\n"
    command = [sys.executable, "-c", ordinary + textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@linux
def test_threads_that_sleep_come_and_go(tmp_path):
    script = """
        import os, time
        import torch
        from pathlib import Path
        from supertile.inference.barriers import sleep_at_barriers
        def threads():
            return len(os.listdir("/proc/self/task"))
        maps = Path("/proc/self/maps").read_text()
        torch.ones(1 << 22).sum()
        before = threads()
        sleep_at_barriers(True)
        sleep_at_barriers(True)
        if "libgomp" not in maps or "libiomp" in maps or "libomp" in maps:
            assert threads() == before
        else:
            assert threads() == before + os.cpu_count() + 1
        assert (torch.ones(1 << 22) * 2).sum() == 2 << 22
        sleep_at_barriers(False)
        end = time.monotonic() + 120
        while threads() > before and time.monotonic() < end:
            time.sleep(0.01)
        print(threads() - before)
    """
    assert run_script(script, tmp_path) == "0"


@linux
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_threads_are_bound_together_and_released(tmp_path):
    script = """
        import os
        import torch
        from supertile.inference.gathering import can_gather, gather, spread
        def cores():
            return {int(name): os.sched_getaffinity(int(name)) for name in os.listdir("/proc/self/task")}
        torch.set_num_threads(2)
        torch.ones(1 << 22).sum()
        free = cores()
        before = gather(1)
        bound = [thread for thread, allowed in cores().items() if len(allowed) == 1]
        assert len(bound) == (2 if can_gather() else 0), cores()
        assert not bound or os.getpid() in bound
        assert (torch.ones(1 << 22) * 2).sum() == 2 << 22
        spread(before)
        assert cores() == free
    """
    run_script(script, tmp_path)


@linux
def test_threads_that_somebody_has_bound_stay_there(monkeypatch):
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    assert not can_gather()


@linux
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_beside_busy_programs_fewer_threads_compute(small_vapsr, tmp_path):
    script = f"""
        import os, subprocess, sys, time
        import torch
        from supertile import Upscaler
        from supertile.inference.cores import CORES
        torch.set_num_threads(os.cpu_count())
        upscaler, image = Upscaler({small_vapsr!r}, device="cpu", precision="fp32"), torch.rand(1, 3, 64, 64)
        def until(wanted):
            end = time.monotonic() + 120
            while time.monotonic() < end:
                upscaler(image)
                if wanted(CORES):
                    return
            sys.exit(f"still {{CORES.threads}} threads on {{CORES.gathered}} cores")
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]
        try:
            until(lambda cores: cores.gathered or (cores.threads or os.cpu_count()) < os.cpu_count())
        finally:
            for process in busy:
                process.kill()
                process.wait()
        assert torch.get_num_threads() == os.cpu_count()
        assert len(os.sched_getaffinity(0)) == os.cpu_count()
    """
    run_script(script, tmp_path)


@linux
def test_a_look_at_the_load_is_a_measurement(tmp_path: Path):
    load = Load()
    assert load.measure(load._at + INTERVAL_S / 2) is None  # too early
    others, waiting, running = load.measure(load._at + 10) or (-1, -1, -1)
    assert 0 <= waiting <= 1
    assert 0 <= running <= 1
    assert others < (os.cpu_count() or 1)
