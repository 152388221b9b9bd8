"""Examine a machine: every check in order, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..version import version
from .problems import problems
from .report import Report
from .software import devices, software

TOTAL_S = 110.0
"""Seconds for everything; checks that would take longer are left out."""

LEAST_FOR_NETWORKS_S = 30.0

Tell = Callable[[str, Any], None]


def examine(device: str = "auto", tell: Tell = lambda what, finding: None) -> Report:
    """Examine this machine. Takes half a minute if nothing else is busy, and hardly more than TOTAL_S in any case.

    Args:
        device: on which networks are measured, as `Upscaler` takes it.
        tell: called as each check is done with the name of a field of Report and its value; with each of kernels,
            networks, cuda and problems.

    Raises:
        UpscaleError: the device cannot be used.
    """
    started = time.monotonic()
    report = Report(version(), software())
    tell("software", report.software)
    if not report.software.broken.keys() & {"torchvision", "spandrel"}:
        _examine_further(report, device, tell, started)
    report.problems = problems(report)
    report.seconds = round(time.monotonic() - started, 1)
    for problem in report.problems:
        tell("problems", problem)
    return report


def _examine_further(report: Report, device: str, tell: Tell, started: float) -> None:
    """Run all checks that need spandrel, which the rest of the package imports."""
    from ..inference.upscaler import choose_device
    from ..video.capabilities import decoders, encoders
    from .cuda import cuda_checks, remember
    from .kernels import kernels
    from .networks import networks
    from .processor import processor
    from .system import cards, folders, system

    report.device = str(choose_device(device))
    report.system, report.processor, report.folders = system(), processor(), folders()
    report.cards, report.devices = cards(), devices()
    for name in ("system", "processor", "folders", "cards", "devices"):
        tell(name, getattr(report, name))
    report.encoders, report.decoders = encoders(), decoders()
    tell("encoders", report.encoders)
    tell("decoders", report.decoders)

    def left() -> float:
        return TOTAL_S - (time.monotonic() - started)

    for kernel in kernels(max(left() - LEAST_FOR_NETWORKS_S, LEAST_FOR_NETWORKS_S)):
        report.kernels.append(kernel)
        tell("kernels", kernel)
    can_compute = not any(kernel.state == "failed" for kernel in report.kernels)
    for network in networks(report.device, with_kernels=can_compute, limit_s=max(left(), LEAST_FOR_NETWORKS_S)):
        report.networks.append(network)
        tell("networks", network)
    if report.device.startswith("cuda"):
        for check in cuda_checks(report.device, left()):
            report.cuda.append(check)
            tell("cuda", check)
        try:
            report.verified_for = remember(report.device, report.cuda)
        except (OSError, RuntimeError):  # the cache is among the problems
            report.verified_for = ""
        tell("verified_for", report.verified_for)
