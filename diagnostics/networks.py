"""Measure networks: how fast they are, beside PyTorch's operations alone, and how exact, in each precision.

One of each family, with random weights and published hyper-parameters, and the bundled ones.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..arch.hitsr_config import HiTSRConfig
from ..arch.vapsr_config import VapSRConfig
from ..inference import Upscaler
from ..inference import precision as precisions
from ..inference.cores import CORES
from ..kernels.cpu import build
from ..weights import hat, hitsr, vapsr
from ..weights.architectures import build_descriptor
from ..weights.bundle import bundled_models
from ..weights.family import Family
from ..weights.loader import load_model
from ..weights.shapes import KnownArguments
from .isolated import EndedError, TooSlowError, isolated
from .kernels import HAT_S

ROUNDS, BUDGET_S = 5, 1.5
"""Passes of each way at most, and seconds for all of them."""

LEAST_AGREEMENT = {"cpu": 90.0, "cuda": 60.0}
"""dB between our fp32 and PyTorch's operations; on CUDA, convolutions may use TF32."""

DEVIATION = 0.25
"""Of the results of random weights, as of an image."""

LIMIT_S = 60.0


@dataclass(frozen=True)
class Way:
    """One way to compute a network.

    Attributes:
        seconds: median of a pass.
        agreement_db: PSNR of its result against fp32 by PyTorch's operations (of fp32) or against our fp32 (of others);
            None where they are equal to the bit.
    """

    seconds: float
    agreement_db: float | None


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network on a device.

    Attributes:
        name, family: as people call them.
        bundled: False for random weights.
        device: where it was computed.
        width, height: of the image.
        ways: "fp32" and each half precision that is worth trying on this device; ours.
        pytorch_s: median seconds of a pass by PyTorch's operations in fp32, without our kernels.
        auto: the precision that `precision="auto"` takes.
        why: for what reason.
        failure: why it could not be measured; the figures are then absent.
        is_too_slow: True if there was too little time, which is no fault of the network.
    """

    name: str
    family: str
    bundled: bool
    device: str
    width: int
    height: int
    ways: dict[str, Way] = field(default_factory=dict)
    pytorch_s: float | None = None
    auto: str | None = None
    why: str = ""
    failure: str = ""
    is_too_slow: bool = False

    @property
    def least_agreement_db(self) -> float:
        """dB to which fp32 must agree with PyTorch's operations."""
        return LEAST_AGREEMENT.get(self.device.partition(":")[0], LEAST_AGREEMENT["cuda"])

    @property
    def is_right(self) -> bool:
        """True if it was measured, and its fp32 is that of PyTorch's operations."""
        if self.failure:
            return False
        agreement = self.ways["fp32"].agreement_db
        return agreement is None or agreement >= self.least_agreement_db


@dataclass(frozen=True)
class _Subject:
    name: str
    family: str
    width: int
    height: int
    load: Callable[[], ImageModelDescriptor]
    bundled: bool = False


def _subjects() -> list[_Subject]:
    """Return the networks, the fastest first, so that a busy machine measures some of them."""
    bundled = [
        _Subject(name, "VapSR", 160, 90, partial(load_model, path), True) for name, path in bundled_models().items()
    ]
    return [
        *bundled,
        _Subject("HiT-SRF x4", "HiT-SR", 64, 64, lambda: random_network(hitsr, HiTSRConfig())),
        _Subject("VapSR x4", "VapSR", 160, 90, lambda: random_network(vapsr, VapSRConfig())),
        _Subject("HAT-S x4", "HAT", 48, 48, lambda: random_network(hat, HAT_S)),
    ]


def random_network(family: Family, config: Any) -> ImageModelDescriptor:
    """Return a network of random weights whose results span about as much as an image, for figures in dB."""
    torch.manual_seed(0)
    network = family.build(config).eval()
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
    with build.restricted_to(()):
        deviation = float(network(precisions.probe_image(3)).std())
    last.weight.mul_(DEVIATION / deviation)
    return build_descriptor(family, network.state_dict(), KnownArguments())


def networks(device: str, *, with_kernels: bool = True, limit_s: float = LIMIT_S) -> Iterator[MeasuredNetwork]:
    """Yield every network, measured in processes of their own.

    Args:
        device: as torch names it.
        with_kernels: False if kernels were found to be wrong or to crash.
        limit_s: seconds for all networks in one process.
    """
    left = list(range(len(_subjects())))
    while left:
        try:
            for network in isolated(measure_all, left, device, with_kernels, limit_s=limit_s):
                left.pop(0)
                yield network
        except TooSlowError as error:
            for number in left:
                yield _not_measured(number, device, str(error), True)
            return
        except EndedError as error:
            if left:
                yield _not_measured(left.pop(0), device, str(error), False)


def _not_measured(number: int, device: str, reason: str, is_slow: bool) -> MeasuredNetwork:
    s = _subjects()[number]
    return MeasuredNetwork(s.name, s.family, s.bundled, device, s.width, s.height, failure=reason, is_too_slow=is_slow)


def measure_all(numbers: list[int], device: str, with_kernels: bool) -> Iterator[MeasuredNetwork]:
    """Measure these of the networks, in order, in the current process."""
    torch.set_grad_enabled(False)
    subjects = _subjects()
    for number in numbers:
        if with_kernels:
            yield _measure(subjects[number], torch.device(device))
        else:
            with build.restricted_to(()):
                yield _measure(subjects[number], torch.device(device))


def _measure(subject: _Subject, device: torch.device) -> MeasuredNetwork:
    model = subject.load()
    image = picture(subject.height, subject.width)
    names = {dtype: name for name, dtype in precisions.PRECISIONS.items()}
    halves = [names[dtype] for dtype in precisions.candidates(model, device)]
    upscalers = {name: Upscaler(model, device=device, precision=name, edges="network") for name in ("fp32", *halves)}
    plain = precisions.cast(model, torch.float32, device)
    on_device = image.to(device)

    def by_pytorch() -> Tensor:
        with build.restricted_to(()), torch.inference_mode(), CORES.shared():
            return precisions.run(plain, on_device).cpu()

    passes: dict[str, Callable[[], Tensor]] = {name: partial(each, image) for name, each in upscalers.items()}
    passes["pytorch"] = by_pytorch
    results = {name: compute() for name, compute in passes.items()}
    seconds = _medians(passes)
    ways = {
        name: Way(seconds[name], _db(results[name], results["pytorch" if name == "fp32" else "fp32"]))
        for name in upscalers
    }
    auto = names[Upscaler(model, device=device, precision="auto", edges="network").dtype]
    return MeasuredNetwork(
        subject.name, subject.family, subject.bundled, str(device), subject.width, subject.height, ways,
        seconds["pytorch"], auto, _why(auto, ways),
    )  # fmt: skip


def _medians(passes: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Return the median seconds of each, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    started = time.perf_counter()
    for _ in range(ROUNDS):
        for name, compute in passes.items():
            begin = time.perf_counter()
            compute()
            times[name].append(time.perf_counter() - begin)
        if time.perf_counter() - started > BUDGET_S:
            break
    return {name: statistics.median(each) for name, each in times.items()}


def _why(auto: str, ways: dict[str, Way]) -> str:
    halves = {name: way.agreement_db for name, way in ways.items() if name != "fp32"}
    if not halves:
        return "no half precision is faster on this device"
    found = {name: "the bit" if db is None else f"{db:.1f} dB" for name, db in halves.items()}
    if auto in found:
        return f"it agrees with fp32 to {found[auto]} and is faster"
    agreements = ", ".join(f"{name} agrees with it to {agreement}" for name, agreement in found.items())
    return f"{agreements}, and {precisions.LEAST_AGREEMENT:.0f} dB are asked for on a small image"


def _db(a: Tensor, b: Tensor) -> float | None:
    agreement = precisions.psnr(a, b)
    return None if agreement == float("inf") else round(agreement, 1)


def picture(height: int, width: int) -> Tensor:
    """(1, 3, height, width) in [0, 1]: smooth areas, edges at many angles and fine noise, always the same."""
    large = F.interpolate(precisions.probe_image(3), (height, width), mode="bicubic", align_corners=False)
    noise = torch.rand(large.shape, generator=torch.Generator().manual_seed(0))
    return (large + 0.1 * (noise - 0.5)).clamp(0, 1)
