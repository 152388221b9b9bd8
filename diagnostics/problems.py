"""Rules: what in a report is a problem, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .privacy import public_path
from .report import Problem, Report

if TYPE_CHECKING:
    from .kernels import Kernel

LEAST_FREE_MEMORY = 2 * 10**9
LEAST_FREE_DISK = 10**9
BUSY_SHARE = 0.25
"""Of the cores: figures are lower while others use as much."""

_EXPECTED_ENCODERS = {"libx264": "H.264", "libx265": "HEVC", "libsvtav1": "AV1", "libvpx-vp9": "VP9"}
_EXPECTED_DECODERS = {"h264": "H.264", "hevc": "HEVC", "libdav1d": "AV1", "vp9": "VP9"}
_NO_REMEDY = ("kernels are for Linux", "there are no kernels for processors")
_REPORT = "please report it with this output"


def problems(report: Report) -> list[Problem]:
    """Return the problems of a report, the worst first."""
    found = [*_packages(report), *_cards(report), *_kernels(report), *_networks(report), *_cuda(report)]
    found += [*_machine(report), *_video(report)]
    return sorted(found, key=lambda each: not each.is_broken)


def _packages(report: Report) -> Iterator[Problem]:
    for name, reason in report.software.broken.items():
        advice = "Install torch and torchvision of one release from one place: pip install --upgrade torch torchvision."
        if name == "spandrel" and "torchvision" not in report.software.broken:
            advice = "Install it anew: pip install --force-reinstall --no-deps spandrel."
        yield Problem(f"package-{name}", True, f"{name} does not fit: {reason}.", advice)


def _cards(report: Report) -> Iterator[Problem]:
    cards = [card for card in report.cards if card.vendor == "NVIDIA"]
    torch = report.software.torch
    if not cards or any(device.name.startswith("cuda") for device in report.devices):
        return
    what = f"This machine has a graphics card of NVIDIA ({cards[0].name}), and PyTorch does not use it"
    if torch.cuda is None:
        yield Problem(
            "torch-without-cuda", True, f"{what}, because this PyTorch was built without CUDA.",
            "Install PyTorch for CUDA with the command of https://pytorch.org/get-started/locally/ (docs/gpu.md).",
        )  # fmt: skip
    elif not cards[0].driver:
        yield Problem("no-driver", True, f"{what}: its driver does not answer.", "Install NVIDIA's driver.")
    else:
        yield Problem(
            "driver-too-old", True,
            f"{what}: its driver {cards[0].driver} may be older than CUDA {torch.cuda} needs, or the card is hidden.",
            "Update the driver, or unset CUDA_VISIBLE_DEVICES.",
        )  # fmt: skip


def _kernels(report: Report) -> Iterator[Problem]:
    for kernel in report.kernels:
        if kernel.state == "wrong":
            yield Problem(
                f"kernel-{kernel.name}", True, f"The kernel {kernel.name} computes something else than PyTorch does "
                f"({_worst(kernel)}).", f"Delete the cache folder and run supertile doctor again. If that does not "
                f"help, set SUPERTILE_KERNELS=off in the environment, and {_REPORT}.",
            )  # fmt: skip
        elif kernel.state == "failed":
            yield Problem(
                f"kernel-{kernel.name}", True, f"The kernel {kernel.name} cannot be used: {kernel.reason}.",
                f"Set SUPERTILE_KERNELS=off in the environment, and {_REPORT}.",
            )  # fmt: skip
    if slow := [kernel for kernel in report.kernels if kernel.state == "not examined"]:
        text = f"There was no time to examine the kernel {slow[0].name}: {slow[0].reason}."
        yield Problem("slow-kernels", False, text, "Run supertile doctor again while nothing else is busy.")
    for reason in dict.fromkeys(kernel.reason for kernel in report.kernels if kernel.state == "absent"):
        if not reason.startswith(_NO_REMEDY):
            yield Problem(
                "no-kernels", False, f"HAT, VapSR and HiT-SR run on PyTorch alone, 2 to 5 times as slow: {reason}.",
                _advice_for_kernels(reason),
            )  # fmt: skip


def _worst(kernel: Kernel) -> str:
    wrong = [each for each in kernel.comparisons if not each.is_right]
    worst = max(wrong, key=lambda each: float("inf") if each.difference is None else each.difference)
    by = "no numbers" if worst.difference is None else f"off by {worst.difference:.1e} of the largest value"
    return f"{by} in {worst.operation}, {worst.precision}"


def _advice_for_kernels(reason: str) -> str:
    if "no C compiler" in reason:
        return "Install a C compiler: apt install gcc, dnf install gcc, or what your system has."
    if "SUPERTILE_KERNELS" in reason:
        return "Unset SUPERTILE_KERNELS, unless you wanted that."
    if "OpenMP" in reason:
        return "Install PyTorch with pip instead of conda; its build brings GNU's OpenMP."
    return "Install a newer gcc or clang, with the headers of the C library."


def _networks(report: Report) -> Iterator[Problem]:
    for network in report.networks:
        if network.is_right:
            continue
        if network.is_too_slow:
            yield Problem(
                "slow", False, f"There was no time to measure {network.name}: {network.failure}.",
                "Run supertile doctor again while nothing else is busy.",
            )  # fmt: skip
            return
        reason = network.failure or f"fp32 agrees with PyTorch to {network.ways['fp32'].agreement_db} dB only"
        yield Problem(
            f"network-{network.name}", True, f"{network.name} does not compute as it should on {network.device}: "
            f"{reason}.", f"Set SUPERTILE_KERNELS=off in the environment or take --device cpu, and {_REPORT}.",
        )  # fmt: skip


def _cuda(report: Report) -> Iterator[Problem]:
    for check in report.cuda:
        if check.passed:
            continue
        is_broken = check.name in ("cpu", "copies")
        advice = f"Take --device cpu, and {_REPORT}." if is_broken else f"Nothing: it is left out. But {_REPORT}."
        yield Problem(f"cuda-{check.name.replace(' ', '-')}", is_broken, f"{check.name}: {check.detail}.", advice)


def _machine(report: Report) -> Iterator[Problem]:
    for folder in report.folders:
        if folder.problem:
            advice = "Set XDG_CACHE_HOME (on Windows LOCALAPPDATA) to a folder that only you can write to."
            what = "so kernels are compiled and networks measured anew by every run"
            if folder.purpose == "temporary":
                what, advice = "so nothing can be written beside it", "Set TMPDIR to a folder that you can write to."
            is_broken = folder.purpose == "temporary"
            text = f"The {folder.purpose} folder {public_path(folder.path)} is not used ({folder.problem}), {what}."
            yield Problem(f"{folder.purpose}-folder", is_broken, text, advice)
        elif folder.free_bytes is not None and folder.free_bytes < LEAST_FREE_DISK:
            text = f"The disk of the {folder.purpose} folder has {folder.free_bytes / 1e9:.1f} GB free."
            yield Problem("disk", False, text, "Delete something there, or choose another folder.")
    if report.system is not None and report.system.free_bytes < LEAST_FREE_MEMORY:
        text = f"Only {report.system.free_bytes / 1e9:.1f} GB of memory are free."
        yield Problem("memory", False, text, "Close other programs, or take --tile 256.")
    processor, torch = report.processor, report.software.torch
    if processor is not None and processor.busy is not None and processor.busy >= BUSY_SHARE * processor.usable:
        text = f"Other programs keep {processor.busy:.1f} of {processor.usable} cores busy, so these figures are low."
        yield Problem("busy", False, text, "Close them, or run supertile doctor again when they are done.")
    if processor is not None and torch.threads < processor.usable // 2 + processor.usable % 2:
        given = os.environ.get("OMP_NUM_THREADS")
        why = "" if given is None else f", because OMP_NUM_THREADS is {given}"
        text = f"PyTorch computes with {torch.threads} of {processor.usable} cores{why}."
        yield Problem("threads", False, text, "Unset it, or take --threads.")
    if not torch.onednn:
        text = "This PyTorch has no oneDNN, so convolutions on the CPU are slow."
        yield Problem("onednn", False, text, "Install PyTorch with pip.")


def _video(report: Report) -> Iterator[Problem]:
    for encoder, name in _EXPECTED_ENCODERS.items():
        if reason := report.encoders.get(encoder):
            text = f"{name} videos cannot be written: the encoder {encoder} cannot be opened ({reason})."
            yield Problem(f"encoder-{encoder}", False, text, "Install PyAV with pip, whose FFmpeg has it.")
    for decoder, name in _EXPECTED_DECODERS.items():
        if reason := report.decoders.get(decoder):
            text = f"{name} videos may not be read: the decoder {decoder} is missing ({reason})."
            yield Problem(f"decoder-{decoder}", False, text, "Install PyAV with pip, whose FFmpeg has it.")
    if any(device.name.startswith("cuda") for device in report.devices) and (
        reason := report.encoders.get("h264_nvenc")
    ):
        text = f"The card's encoder cannot be opened ({reason})."
        yield Problem("nvenc", False, text, "Update the driver, or keep to the software encoders.")
