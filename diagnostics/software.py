"""The software: PyTorch and how it was built, the packages beside it, the compiler, ComfyUI and the model folders."""

from __future__ import annotations

import importlib
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..kernels.cpu import build
from ..weights.model_folders import comfyui_installations, model_files, model_folders

PACKAGES = (
    *("torchvision", "spandrel", "einops", "numpy", "pillow", "av", "safetensors", "triton"),
    *("pillow-heif", "pillow-jxl-plugin", "ray", "timm", "spandrel-extra-arches"),
)
COMPILER_TIMEOUT_S = 10


@dataclass(frozen=True)
class Torch:
    """PyTorch, and how it was built.

    Attributes:
        version: its own.
        cuda, hip: versions of CUDA and ROCm that it was built for; None without.
        capability: the instructions that it uses: "AVX512", "AVX2", "DEFAULT"...
        threads: with which it computes.
        openmp: libraries of OpenMP in the process; None where the system does not tell.
        onednn: True if it has oneDNN.
    """

    version: str
    cuda: str | None
    hip: str | None
    capability: str
    threads: int
    openmp: list[str] | None
    onednn: bool


@dataclass(frozen=True)
class Device:
    """A device that PyTorch can compute on, beside the CPU.

    Attributes:
        name: "cuda:0", "mps", "xpu:0".
        description: the card's own name.
        memory_bytes, free_bytes: None where PyTorch does not tell.
        capability: of an NVIDIA card, "9.0"; "" of others.
    """

    name: str
    description: str
    memory_bytes: int | None = None
    free_bytes: int | None = None
    capability: str = ""


@dataclass(frozen=True)
class Software:
    """All that is installed.

    Attributes:
        torch: PyTorch.
        packages: versions of PACKAGES by name; None for what is not installed.
        broken: package -> why it does not fit the others.
        compiler: the first line that the C compiler says of itself; None if there is none.
        comfyui: folders of ComfyUI.
        models: model folder -> number of model files in it.
    """

    torch: Torch
    packages: dict[str, str | None]
    broken: dict[str, str]
    compiler: str | None
    comfyui: list[str]
    models: dict[str, int]


def software() -> Software:
    """Describe what is installed."""
    return Software(
        _torch(),
        {name: _version(name) for name in PACKAGES},
        _broken(),
        _compiler(),
        [str(folder.absolute()) for folder in comfyui_installations()],
        {str(folder.absolute()): _count(folder) for folder in model_folders()},
    )


def _torch() -> Torch:
    openmp: list[str] | None = None
    with suppress(OSError):
        files = {line.rpartition("/")[2] for line in Path("/proc/self/maps").read_text(errors="replace").splitlines()}
        openmp = sorted(name for name in files if re.match(r"lib(gomp|iomp|omp)\b.*\.so|lib(gomp|iomp|omp)-", name))
    return Torch(
        torch.__version__, torch.version.cuda, torch.version.hip, torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(), openmp, torch.backends.mkldnn.is_available(),
    )  # fmt: skip


def _version(name: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def _broken() -> dict[str, str]:
    """Return the packages that do not fit PyTorch or cannot be imported, and why."""
    broken = {}
    needed = next((r for r in _requirements("torchvision") if re.match(r"torch\s*\(?==", r)), None)
    if needed is not None:
        wanted = needed.partition("==")[2].strip(" )")
        if wanted.partition("+")[0] != torch.__version__.partition("+")[0]:
            broken["torchvision"] = f"it was built for torch {wanted}, and torch is {torch.__version__}"
    for name in ("torchvision", "spandrel"):
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            broken.setdefault(name, f"it cannot be imported ({type(error).__name__}: {reason})")
    return broken


def _requirements(name: str) -> list[str]:
    with suppress(metadata.PackageNotFoundError):
        return metadata.requires(name) or []
    return []


def _compiler() -> str | None:
    program = build.find_compiler()
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=COMPILER_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{Path(program).name}, which does not answer ({type(error).__name__})"
    return done.stdout.decode(errors="replace").strip().partition("\n")[0] or Path(program).name


def _count(folder: Path) -> int:
    return sum(file.folder == folder for file in model_files([folder]))


def devices() -> list[Device]:
    """Return the devices beside the CPU that PyTorch can compute on."""
    found = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            with suppress(RuntimeError):
                p: Any = torch.cuda.get_device_properties(number)
                free, total = torch.cuda.mem_get_info(number)
                found.append(Device(f"cuda:{number}", p.name, total, free, f"{p.major}.{p.minor}"))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple silicon"))
    xpu = getattr(torch, "xpu", None)
    if xpu is not None and xpu.is_available():
        found += [Device(f"xpu:{number}", xpu.get_device_name(number)) for number in range(xpu.device_count())]
    return found
