"""Try on a CUDA device what has no other proof: Triton kernels, copies, graphs and compiled networks.

Each check runs in a process of its own, since a driver may end it or hang. What passes is remembered for this card, its
driver and these versions (inference/accelerator/verified.py). Nothing of this file has run on a GPU so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..arch.hat_config import HATConfig
from ..arch.hitsr_config import HiTSRConfig
from ..arch.vapsr_config import VapSRConfig
from ..inference import Upscaler
from ..inference import precision as precisions
from ..inference.accelerator import cuda, verified
from ..inference.accelerator.cuda_graphs import MIN_BATCHES, Recorder
from ..inference.accelerator.torch_compile import Compiler
from ..kernels.autotune import CHOICES
from ..kernels.cpu import build
from ..weights import hat, hitsr, vapsr
from .isolated import EndedError, isolated
from .networks import picture, random_network

CHECK_S = 45.0
"""Seconds for one check at most, the start of its process included."""

LARGEST_DIFFERENCE = 1e-3
"""Between results in fp32 on the device and on the CPU, of a full scale of 1, without TF32."""

LEAST_AGREEMENT = 60.0
"""dB between a network with Triton kernels and with PyTorch's operations."""

_PASSES = 20

NETWORKS: dict[str, Callable[[], ImageModelDescriptor]] = {
    "HAT": lambda: random_network(hat, HATConfig(depths=(2, 2), num_heads=(6, 6))),
    "VapSR": lambda: random_network(vapsr, VapSRConfig(num_blocks=8)),
    "HiT-SR": lambda: random_network(hitsr, HiTSRConfig(depths=(6, 6), num_heads=(6, 6))),
}
"""Published widths in fewer blocks."""


@dataclass(frozen=True)
class TritonKernel:
    """A kernel in Triton beside PyTorch's operations, as it was measured on first use.

    Attributes:
        operation: its name, and for which sizes.
        precision: of its first tensor.
        pytorch_ms, kernel_ms: of a pass; None where it was not timed.
        failure: why it cannot be used; "" where both agree.
    """

    operation: str
    precision: str
    pytorch_ms: float | None
    kernel_ms: float | None
    failure: str


@dataclass(frozen=True)
class CudaCheck:
    """The outcome of a check.

    Attributes:
        name: "triton", "cpu", "copies", "graphs" or "compiled FAMILY".
        passed: True if it works and, of graphs and compiled networks, is not slower.
        detail: figures, or the reason.
        seconds: that it took.
        kernels: of the check "triton".
    """

    name: str
    passed: bool
    detail: str
    seconds: float
    kernels: list[TritonKernel] = field(default_factory=list)


Outcome = tuple[bool, str, list[TritonKernel]]


def cuda_checks(device: str, limit_s: float) -> Iterator[CudaCheck]:
    """Yield what becomes of every check on a device.

    Args:
        device: as torch names it.
        limit_s: seconds for all; checks for which there is no time do not pass.
    """
    deadline = time.monotonic() + limit_s
    for name in CHECKS:
        started = time.monotonic()
        left = min(CHECK_S, deadline - started)
        try:
            if left < 1:
                raise EndedError("no time was left for it")
            [(passed, detail, kernels)] = isolated(check, name, device, limit_s=left)
        except EndedError as error:
            passed, detail, kernels = False, str(error), []
        yield CudaCheck(name, passed, detail, round(time.monotonic() - started, 1), kernels)


def remember(device: str, checks: list[CudaCheck]) -> str:
    """Keep which of graphs and compiled networks work; return for which card, driver and versions, "" for none.

    Raises:
        OSError, RuntimeError: it cannot be kept.
    """
    setup = verified.setup_of(torch.device(device))
    if setup is None:
        return ""
    passed = {each.name: each.passed for each in checks}
    exact = all(passed.get(name, False) for name in ("cpu", "copies"))
    kept = {name: exact and works for name, works in passed.items() if name not in ("triton", "cpu", "copies")}
    verified.remember(setup, kept)
    return setup


def check(name: str, device: str) -> Iterator[Outcome]:
    """Run one check in the current process."""
    torch.set_grad_enabled(False)
    yield CHECKS[name](torch.device(device))


def _triton(device: torch.device) -> Outcome:
    """Whole networks, in which every kernel is compared with PyTorch on first use."""
    image = picture(96, 128)[0].to(device)[None]
    worst = float("inf")
    for make in NETWORKS.values():
        model = make()
        for dtype in (torch.float32, *precisions.candidates(model, device)):
            network = precisions.cast(model, dtype, device)
            with build.restricted_to(()), torch.inference_mode():
                expected = precisions.run(network, image)
            for _ in range(2):  # the second pass takes what the first has chosen
                with torch.inference_mode():
                    worst = min(worst, precisions.psnr(precisions.run(network, image), expected))
    kernels = [
        TritonKernel(
            each.operation, str(each.dtype).removeprefix("torch."), _ms(each.pytorch_s), _ms(each.kernel_s),
            each.failure,
        )
        for each in CHOICES.measured
    ]  # fmt: skip
    failed = [each for each in kernels if each.failure]
    faster = sum(not each.failure and (each.kernel_ms or 0) < (each.pytorch_ms or 0) for each in kernels)
    if not kernels:
        return False, "no kernel was tried: they are for NVIDIA cards from compute capability 8.0", kernels
    if failed:
        return False, f"{failed[0].operation} in {failed[0].precision}: {failed[0].failure}", kernels
    agreement = "equal to PyTorch" if worst == float("inf") else f"{worst:.0f} dB from PyTorch at worst"
    return worst >= LEAST_AGREEMENT, f"{faster} of {len(kernels)} kernels are faster than PyTorch, {agreement}", kernels


def _cpu(device: torch.device) -> Outcome:
    """Whole networks in fp32 against the CPU, without TF32."""
    torch.backends.cudnn.allow_tf32 = False
    image, worst = picture(60, 80), 0.0
    for make in NETWORKS.values():
        model = make()
        results = [Upscaler(model, device=where, precision="fp32")(image) for where in (device, "cpu")]
        worst = max(worst, float((results[0] - results[1]).abs().max()))
    return worst <= LARGEST_DIFFERENCE, f"results differ from the CPU's by {worst:.1e} at most", []


def _copies(device: torch.device) -> Outcome:
    """A stream of images through pinned memory, against each image alone on the device."""
    upscaler = Upscaler("supertile-2x", device=device, precision="fp32")
    images = [picture(90 + 7 * number, 160 - 5 * number)[0] for number in range(12)]
    alone = [next(iter(upscaler.stream([image], keep_on_device=True))).cpu() for image in images]
    worst = max(float((a - b).abs().max()) for a, b in zip(upscaler.stream(images), alone, strict=True))
    return worst <= LARGEST_DIFFERENCE, f"a stream of 12 images differs from each alone by {worst:.1e} at most", []


def _graphs(device: torch.device) -> Outcome:
    gains = []
    for family, make in NETWORKS.items():
        network = precisions.cast(make(), torch.float32, device)
        recorder = Recorder(cuda.Graph if device.type == "cuda" else None)
        plain = partial(precisions.run, network)
        batch = picture(64, 64).to(device)
        if not recorder.wants(batch.shape, MIN_BATCHES):
            return False, "there are no graphs on this device", []
        with torch.inference_mode():
            recorder(plain, batch)
            if not recorder.shapes():
                return False, f"{family} cannot be recorded, or its graph returns something else", []
            other = batch.flip(2).contiguous()
            if not precisions.agree(recorder(plain, other), plain(other)):
                return False, f"{family} through a graph returns something else", []
            gains.append(_gain(partial(plain, batch), partial(recorder, plain, batch), device))
    text = ", ".join(f"{family} {gain:.2f}" for family, gain in zip(NETWORKS, gains, strict=True))
    return min(gains) >= 1, f"times as fast as without: {text}", []


def _compiled(family: str, device: torch.device) -> Outcome:
    network = precisions.cast(NETWORKS[family](), torch.float32, device)
    place = partial(cuda.current, device) if device.type == "cuda" else nullcontext
    compiler = Compiler(network, "on", device, place=place)
    batch = picture(64, 64).to(device)
    with torch.inference_mode():
        compiler(batch)
        if not compiler.shapes():
            return False, "it cannot be compiled, or returns something else", []
        gain = _gain(partial(precisions.run, network, batch), partial(compiler, batch), device)
    return gain >= 1, f"{gain:.2f} times as fast as without", []


CHECKS: dict[str, Callable[[torch.device], Outcome]] = {
    "triton": _triton,
    "cpu": _cpu,
    "copies": _copies,
    verified.GRAPHS: _graphs,
    verified.compiled("VapSR"): partial(_compiled, "VapSR"),
    verified.compiled("HiT-SR"): partial(_compiled, "HiT-SR"),
}


def _gain(plain: Callable[[], Tensor], other: Callable[[], Tensor], device: torch.device) -> float:
    """Return how many times as fast `other` is, by the fastest of three rounds of each."""
    rounds = [(_seconds(plain, device), _seconds(other, device)) for _ in range(3)]
    slow, fast = map(min, zip(*rounds, strict=True))
    return slow / fast


def _seconds(compute: Callable[[], Tensor], device: torch.device) -> float:
    compute()
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(_PASSES):
        compute()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 4)
