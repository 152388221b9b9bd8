"""Which way a step is computed: what is wrong, slower or failing is never used; with a clock of our own, on a CPU."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from supertile.kernels import autotune
from supertile.kernels.autotune import Choices
from torch import Tensor


class Step:
    """A step that doubles; each way takes as long as its clock says, and is counted."""

    def __init__(self, seconds: float, factor: float = 2.0, error: Exception | None = None) -> None:
        self.seconds, self.factor, self.error, self.calls = seconds, factor, error, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return x * self.factor


class Meeting:
    """Both ways, and what has been chosen between them."""

    def __init__(self, kernel: Step, plain: Step | None = None) -> None:
        self.kernel, self.plain = kernel, plain or Step(2.0)
        self.timed: Step | None = None
        self.choices = Choices(self.timer, device="cpu")

    def timer(self, way: Callable[[], Tensor]) -> float:
        calls = self.plain.calls
        way()
        return self.plain.seconds if self.plain.calls > calls else self.kernel.seconds

    def __call__(self, x: Tensor, kind: object = 1, **options: bool) -> tuple[Tensor, str]:
        """The result, and who gave it."""
        plain, kernel = self.plain.calls, self.kernel.calls
        y = self.choices.best("doubling", kind, lambda: self.plain(x), lambda: self.kernel(x), (x, None), **options)
        both = self.plain.calls - plain, self.kernel.calls - kernel
        return y, {(1, 0): "PyTorch", (0, 1): "the kernel"}.get(both, "both")


X = torch.arange(12.0)


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.INFO, logger=autotune.log.name)
    return caplog.messages


def test_a_faster_kernel_is_used_after_it_was_measured_once():
    meet = Meeting(Step(1.0))
    ways = [meet(X) for _ in range(3)]
    assert [way for _, way in ways] == ["both", "the kernel", "the kernel"]
    assert all(torch.equal(y, 2 * X) for y, _ in ways)


@pytest.mark.parametrize("seconds", [2.0, 3.0])
def test_a_slower_kernel_is_not_used(seconds):
    meet = Meeting(Step(seconds))
    assert [meet(X)[1] for _ in range(3)] == ["both", "PyTorch", "PyTorch"]


def test_a_wrong_kernel_is_never_used_and_never_seen(caplog):
    meet = Meeting(Step(1.0, factor=2.0001))
    ways = [meet(X) for _ in range(3)]
    assert [way for _, way in ways] == ["both", "PyTorch", "PyTorch"]
    assert all(torch.equal(y, 2 * X) for y, _ in ways)
    assert caplog.messages == ["The kernel for doubling 1 is not used: its result is not PyTorch's."]


def test_a_result_that_is_not_a_number_or_of_another_dtype_is_wrong():
    for factor in (torch.nan, torch.tensor(2.0, dtype=torch.float64)[None]):
        meet = Meeting(Step(1.0, factor=factor))
        assert [meet(X)[1] for _ in range(2)] == ["both", "PyTorch"]


@pytest.mark.parametrize(("factor", "tf32", "used"), [(2.002, True, True), (2.02, True, False), (2.002, False, False)])
def test_where_pytorch_may_round_to_tf32_a_kernel_may(factor, tf32, used):
    meet = Meeting(Step(1.0, factor=factor))
    meet(X, tf32=tf32)
    assert (meet(X, tf32=tf32)[1] == "the kernel") is used


@pytest.mark.parametrize(
    "error", [RuntimeError("no C compiler\nwas found."), AssertionError(), TypeError("an old Triton")]
)
def test_a_kernel_that_fails_is_not_tried_again(error, caplog):
    meet = Meeting(Step(1.0, error=error))
    assert [torch.equal(meet(X)[0], 2 * X) for _ in range(3)] == [True] * 3
    assert meet.kernel.calls == 1
    assert len(caplog.messages) == 1
    assert (str(error).partition("\n")[0] or "AssertionError") in caplog.messages[0]


def test_a_kernel_that_fails_later_is_left_then(caplog):
    meet = Meeting(Step(1.0))
    meet(X)
    meet.kernel.error = RuntimeError("out of resource: shared memory")
    y, _ = meet(X)
    assert torch.equal(y, 2 * X)
    assert meet(X)[1] == "PyTorch"
    assert len(caplog.messages) == 1


def test_without_triton_no_step_is_measured_and_it_is_said_once(caplog):
    meet = Meeting(Step(1.0, error=ModuleNotFoundError("No module named 'triton'")))
    for kind in range(3):
        assert torch.equal(meet(X, kind)[0], 2 * X)
    assert meet.kernel.calls == 1
    assert caplog.messages == ["Kernels for CUDA are not used: No module named 'triton'."]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("Triton Error [CUDA]: out of memory")]
)
@pytest.mark.parametrize("later", [False, True])
def test_want_of_memory_goes_through_and_decides_nothing(error, later):
    meet = Meeting(Step(1.0))
    if later:
        meet(X)
    meet.kernel.error = error
    with pytest.raises(type(error)):
        meet(X)
    meet.kernel.error = None
    assert meet(X)[1] == ("the kernel" if later else "both")


def test_the_fault_of_pytorchs_own_way_is_not_the_kernels():
    meet = Meeting(Step(1.0), Step(2.0, error=ValueError("a wrong shape")))
    with pytest.raises(ValueError, match="a wrong shape"):
        meet(X)


def test_nothing_is_learnt_from_numbers_that_overflowed():
    meet = Meeting(Step(1.0))
    assert meet(torch.full([3], torch.inf))[1] == "PyTorch"
    assert meet(X)[1] == "both"


def test_sizes_dtypes_and_kinds_are_chosen_for_apart_but_few():
    meet = Meeting(Step(1.0))
    meet(torch.ones(1000, 1000))
    for rows in (900, 700, 600):  # strips of many heights
        assert meet(torch.ones(rows, 1000))[1] == "the kernel"
    assert meet(torch.ones(10, 10))[1] == "both"
    assert meet(torch.ones(1000, 1000).half())[1] == "both"
    assert meet(torch.ones(1000, 1000), kind=2)[1] == "both"


def test_a_kernel_is_kept_out_of_gradients_modes_and_other_devices(monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode

    meet = Meeting(Step(1.0))
    meet(X)
    assert meet(X)[1] == "the kernel"
    assert meet(X.clone().requires_grad_())[1] == "PyTorch"
    with torch.no_grad():
        assert meet(X.clone().requires_grad_())[1] == "the kernel"
    with FlopCounterMode(display=False):
        assert meet(X)[1] == "PyTorch"
    assert meet(X.double())[1] == "PyTorch"
    assert meet(X.to("meta"))[1] == "PyTorch"
    monkeypatch.setenv("SUPERTILE_KERNELS", "off")
    assert meet(X)[1] == "PyTorch"


def test_while_a_graph_is_captured_nothing_is_measured(monkeypatch):
    meet = Meeting(Step(1.0))
    monkeypatch.setattr(autotune, "_capturing", lambda device: True)
    assert [meet(X)[1] for _ in range(2)] == ["PyTorch"] * 2
    monkeypatch.setattr(autotune, "_capturing", lambda device: False)
    meet(X)
    monkeypatch.setattr(autotune, "_capturing", lambda device: True)
    assert meet(X)[1] == "the kernel"


@pytest.mark.parametrize(
    ("capability", "hip", "used"), [((7, 5), None, False), ((8, 0), None, True), ((9, 0), "6", False)]
)
def test_gpus_that_triton_may_end_the_process_on_are_left_to_pytorch(capability, hip, used, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert autotune._new_enough.__wrapped__(torch.device("cuda", 0)) is used


def test_networks_on_a_cpu_leave_triton_alone():
    script = """
import sys, torch
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
small = HATConfig(scale=1, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, overlap_window=6)
for network in (HAT(small), VapSR(VapSRConfig(num_blocks=1)), HiTSR(HiTSRConfig(depths=(1,), num_heads=(6,)))):
    with torch.no_grad():
        network.eval()(torch.rand(1, 3, 9, 9))
assert not any(name.partition(".")[0] == "triton" for name in sys.modules), "triton was imported"
assert not torch.cuda.is_initialized()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
