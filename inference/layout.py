"""Choose on the CPU how a network of spandrel keeps its images in memory: channels first or last, whichever is faster.

Convolutions are up to twice as fast with channels last, other layers may be slower. So a small image goes through both,
in turns, once for each kind of network, version of PyTorch and processor; the winner is remembered in the user's cache.
Our own networks have layouts of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import statistics
import time
from contextlib import suppress
from pathlib import Path

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..weights.listing_cache import cache_folder
from . import precision as precisions
from .errors import is_out_of_memory

log = logging.getLogger(__name__)

LEAST_GAIN = 1.05
"""Channels stay first unless the other way is so many times as fast, so that a busy moment decides nothing."""

LARGEST_DIFFERENCE = 1e-4
"""Of both results, relative to the largest sample; sums are taken in another order."""

ROUNDS, BUDGET_S, PASS_S = 5, 0.6, 0.03
"""Turns at most, seconds for all of them, and the least seconds of a pass that can be compared."""

SIZES = (32, 64, 128)

_MAX_BYTES, _MAX_KINDS = 1 << 20, 1000

_known: dict[str, bool] = {}


def in_fast_layout(descriptor: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a network on the CPU as it is or, where that is faster, a copy with channels last.

    Args:
        descriptor: on the CPU, in any precision. It is left alone.
    """
    if precisions.is_ours(descriptor.model) or not any(p.dim() == 4 for p in descriptor.model.parameters()):
        return descriptor
    kind = _kind(descriptor)
    if kind not in _known:
        _known.update(_remembered())
    if _known.get(kind) is False:
        return descriptor
    last = precisions.cast(descriptor, descriptor.dtype, torch.device("cpu"))
    for tensor in (*last.model.parameters(), *last.model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    if kind not in _known:
        _known[kind] = _measure(descriptor, last, kind)
    return last if _known[kind] else descriptor


def _measure(first: ImageModelDescriptor, last: ImageModelDescriptor, kind: str) -> bool:
    try:
        gain = _gain(first, last)
    except Exception as error:  # a network may fail on a small image and still upscale others
        if is_out_of_memory(error):
            raise
        log.debug("The layout of %s was not measured: %s", first.architecture.name, error)
        return False
    log.debug("%s with channels last is %.2f times as fast", first.architecture.name, gain)
    _remember(kind, gain >= LEAST_GAIN)
    return gain >= LEAST_GAIN


def _gain(first: ImageModelDescriptor, last: ImageModelDescriptor) -> float:
    """Return how many times as fast channels last are; 0 if results differ."""
    for size in SIZES:
        image = torch.rand(1, first.input_channels, size, size, generator=torch.Generator().manual_seed(0))
        started = time.perf_counter()
        one = precisions.run(first, image)
        other = precisions.run(last, image)
        if not float((one - other).abs().max()) <= LARGEST_DIFFERENCE * max(1.0, float(one.abs().max())):
            return 0.0
        if time.perf_counter() - started >= 2 * PASS_S:
            break
    ratios: list[float] = []
    started = time.perf_counter()
    while len(ratios) < ROUNDS and time.perf_counter() - started < BUDGET_S:
        ratios.append(_seconds(first, image) / _seconds(last, image))
    return statistics.median(ratios)


def _seconds(descriptor: ImageModelDescriptor, image: Tensor) -> float:
    started = time.perf_counter()
    precisions.run(descriptor, image)
    return time.perf_counter() - started


def _kind(descriptor: ImageModelDescriptor) -> str:
    """Return a digest of all that the speed depends on: layers and their sizes, PyTorch, processor, threads."""
    layers = [(name, list(each.shape), str(each.dtype)) for name, each in descriptor.model.named_parameters()]
    threads, level = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    machine = [torch.__version__, platform.machine(), _processor(), level, threads]
    text = json.dumps([descriptor.architecture.id, layers, machine])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _processor() -> str:
    """Return the processor's name, where Linux tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def _remembered() -> dict[str, bool]:
    """Return what earlier processes have measured: True for channels last, by kind."""
    with suppress(OSError, ValueError, RuntimeError, RecursionError):
        with open(_file(), "rb") as file:
            known = json.loads(file.read(_MAX_BYTES))
        return {kind: last for kind, last in known.items() if isinstance(last, bool)} if isinstance(known, dict) else {}
    return {}


def _remember(kind: str, is_last: bool) -> None:
    """Keep a measurement; if that is not possible, the next process measures again."""
    known = dict([*_remembered().items(), (kind, is_last)][-_MAX_KINDS:])
    with suppress(OSError, RuntimeError):
        _file().parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        part = _file().with_name(f".{_file().name}.{os.getpid()}.part")
        part.write_text(json.dumps(known))
        os.replace(part, _file())


def _file() -> Path:
    return cache_folder() / "layouts.json"
