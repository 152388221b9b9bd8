"""`supertile doctor`: what this machine has, what works on it and how fast, and what to do about what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from .console import FAILED, errors_as_sentences, say, termination_cleans_up
from .options import AsJson, Debug, Device

if TYPE_CHECKING:
    from ..diagnostics.cuda import CudaCheck
    from ..diagnostics.kernels import Kernel
    from ..diagnostics.networks import MeasuredNetwork
    from ..diagnostics.processor import Processor
    from ..diagnostics.report import Problem
    from ..diagnostics.software import Device as FoundDevice
    from ..diagnostics.software import Software
    from ..diagnostics.system import Card, Folder, System


def doctor(device: Device = "auto", as_json: AsJson = False, debug: Debug = False) -> None:
    """Examine this machine.

    Show what it has, which kernels work and are used, how fast and exact networks are, and what to do about problems.
    Takes half a minute, and names no user and no home folder: add its output to a bug report. Exits with 1 if something
    is broken.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        from ..diagnostics.examine import examine
        from ..diagnostics.report import document

        out, progress = Console(), Console(stderr=True)

        def tell(what: str, finding: Any) -> None:
            for line in LINES[what](finding):
                if not as_json:
                    say(out, line)
                elif progress.is_terminal:
                    say(progress, line)

        report = examine(device, tell)
        if as_json:
            import json

            typer.echo(json.dumps(document(report), indent=2))
        else:
            fine = "" if report.problems else "Everything is fine. "
            say(out, f"{fine}Examined in {report.seconds:.0f} s.")
        if report.is_broken:
            raise typer.Exit(FAILED)


# --- what is found, as lines -----------------------------------------------------------------------------------------


def _software(found: Software) -> list[str]:
    from .. import __version__
    from ..diagnostics.privacy import public_path

    torch = found.torch
    built = f"CUDA {torch.cuda}" if torch.cuda else f"ROCm {torch.hip}" if torch.hip else "without CUDA"
    openmp = f", {' and '.join(torch.openmp)}" if torch.openmp else ""
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items() if version)
    missing = ", ".join(name for name, version in found.packages.items() if not version)
    lines = [
        f"Supertile {__version__}",
        f"PyTorch {torch.version}, {built}, {torch.threads} threads, {torch.capability}{openmp}"
        + ("" if torch.onednn else ", without oneDNN"),
        f"Packages: {packages}",
        f"Not installed: {missing}" if missing else "",
        f"C compiler: {found.compiler or 'none'}",
        f"ComfyUI: {', '.join(map(public_path, found.comfyui)) or 'none found'}",
        "Model folders: "
        + (", ".join(f"{public_path(path)} ({count} files)" for path, count in found.models.items()) or "none found"),
    ]
    return [line for line in lines if line]


def _system(found: System) -> list[str]:
    total = "" if found.memory_bytes is None else f" of {_gb(found.memory_bytes)}"
    limit = "" if found.memory_limit_bytes is None else f", {_gb(found.memory_limit_bytes)} for this container"
    return [
        f"System: {found.name}; Python {found.python}",
        f"Memory: {_gb(found.free_bytes)}{total} free{limit}",
    ]


def _processor(found: Processor) -> list[str]:
    busy = "" if found.busy is None else f", of which others keep {found.busy:.1f} busy"
    cores = f"{found.usable} of {found.cores} cores usable" if found.usable != found.cores else f"{found.cores} cores"
    instructions = (
        "" if found.instructions is None else f"; {', '.join(found.instructions) or 'no vector instructions'}"
    )
    return [f"Processor: {found.name} ({found.machine}), {cores}{busy}{instructions}"]


def _folders(found: list[Folder]) -> list[str]:
    from ..diagnostics.privacy import public_path

    return [
        f"{each.purpose.capitalize()} folder: {public_path(each.path) or 'none'}"
        + ("" if each.free_bytes is None else f", {_gb(each.free_bytes)} free")
        + (f"; not used: {each.problem}" if each.problem else "")
        for each in found
    ]


def _cards(found: list[Card]) -> list[str]:
    names = (f"{each.vendor} {each.name}{f', driver {each.driver}' if each.driver else ''}" for each in found)
    return [f"Graphics cards: {'; '.join(names) or 'none found'}"]


def _devices(found: list[FoundDevice]) -> list[str]:
    def describe(each: FoundDevice) -> str:
        memory = ""
        if each.memory_bytes is not None and each.free_bytes is not None:
            memory = f", {_gb(each.free_bytes)} of {_gb(each.memory_bytes)} free"
        capability = f", compute capability {each.capability}" if each.capability else ""
        return f"{each.name} ({each.description}{memory}{capability})"

    return [f"Devices of PyTorch: {', '.join(['cpu', *map(describe, found)])}"]


def _codecs(kind: str) -> Callable[[dict[str, str]], list[str]]:
    def lines(found: dict[str, str]) -> list[str]:
        absent = ", ".join(f"{name} ({reason})" for name, reason in found.items() if reason)
        there = ", ".join(name for name, reason in found.items() if not reason)
        return [f"{kind}: {there or 'none'}" + (f". Not available: {absent}" if absent else "")]

    return lines


def _kernel(found: Kernel) -> list[str]:
    if not found.comparisons:
        return [f"Kernel {found.name}: {found.state}, {found.reason}; PyTorch computes instead"]
    worst: dict[str, float] = {}
    for each in found.comparisons:
        difference = float("inf") if each.difference is None else each.difference
        worst[each.precision] = max(difference, worst.get(each.precision, 0.0))
    text = ", ".join(f"{difference:.0e} in {precision}" for precision, difference in worst.items())
    return [
        f"Kernel {found.name}: {found.state} in {len(found.comparisons)} comparisons with PyTorch, largest difference "
        f"{text}; loaded in {found.seconds:.2f} s"
    ]


def _network(found: MeasuredNetwork) -> list[str]:
    label = (
        f"{found.name}{'' if found.bundled else ' (random weights)'}, {found.width}x{found.height} on {found.device}"
    )
    if found.failure:
        return [f"{label}: not measured, {found.failure}"]
    fp32 = found.ways["fp32"]
    pixels = found.width * found.height / 1e6
    assert found.pytorch_s is not None
    parts = [
        f"{1 / fp32.seconds:.3g} images/s in fp32 ({pixels / fp32.seconds:.3g} MPix/s), "
        f"{found.pytorch_s / fp32.seconds:.2f} times as fast as PyTorch's operations alone, to which it agrees to "
        f"{_agreement(fp32.agreement_db)}"
    ]
    parts += [
        f"{name} {fp32.seconds / way.seconds:.2f} times as fast, agrees with fp32 to {_agreement(way.agreement_db)}"
        for name, way in found.ways.items()
        if name != "fp32"
    ]
    return [f"{label}: {'; '.join(parts)}; auto takes {found.auto}: {found.why}"]


def _agreement(db: float | None) -> str:
    return "the bit" if db is None else f"{db:.1f} dB"


def _cuda(found: CudaCheck) -> list[str]:
    lines = [f"{found.name}: {'works' if found.passed else 'not used'}, {found.detail} ({found.seconds:.0f} s)"]
    for each in found.kernels:
        times = f"{each.kernel_ms} ms, PyTorch {each.pytorch_ms} ms" if not each.failure else each.failure
        lines.append(f"  {each.operation}, {each.precision}: {times}")
    return lines


def _verified_for(found: str) -> list[str]:
    return [f"Remembered for {found}" if found else "Nothing is remembered for this card"]


def _problem(found: Problem) -> list[str]:
    return [f"Problem: {found.text}", f"Do: {found.advice}"]


LINES: dict[str, Callable[[Any], list[str]]] = {
    "software": _software,
    "system": _system,
    "processor": _processor,
    "folders": _folders,
    "cards": _cards,
    "devices": _devices,
    "encoders": _codecs("Encoders"),
    "decoders": _codecs("Decoders"),
    "kernels": _kernel,
    "networks": _network,
    "cuda": _cuda,
    "verified_for": _verified_for,
    "problems": _problem,
}
"""The name of a field of Report -> what is printed of its value, or of each element."""


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
