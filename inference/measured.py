"""Compare two ways of computing a network on this processor by time, once, and remember the choice.

The two are measured in turns on a small image, so that a busy moment slows both. What was chosen is kept in the user's
cache folder, for each kind of network, version of PyTorch and processor; other processes then choose alike. A choice
that a busy machine may have made is kept for this process only.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import spandrel
import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..arch.other_families import has_kernels
from . import precision as precisions
from .cache_file import CacheFile
from .cores import CORES

KERNELS = 4
"""Counts up when our kernels compute more networks: earlier measurements count no more."""

LEAST_S, LONGEST_S = 0.3, 1.5
"""Seconds of measuring; there is always one turn."""

CLEAR = 1.25
"""A measurement decides, however noisy it was, if it is so many times above or below what is asked for."""

_MAX_KINDS = 1000


class Speedup(NamedTuple):
    """How many times as fast another way is, and if the shortest time of each way came up twice."""

    gain: float
    confirmed: bool

    def is_clear(self, least: float) -> bool:
        """Return True if the gain is far from `least`."""
        return not least / CLEAR < self.gain < least * CLEAR

    def decides(self, least: float) -> bool:
        """Return True if it is sure on which side of `least` the gain lies."""
        return self.confirmed or self.is_clear(least)


def speedup(first: ImageModelDescriptor, other: ImageModelDescriptor, image: Tensor) -> Speedup:
    """Measure how many times as fast as `first` another way computes an image.

    The shortest times are compared, since whatever else a machine does only adds to them. It is measured until each is
    confirmed by a second one.

    Args:
        first, other: the network in both ways. Each has computed an image before.
        image: (1, C, H, W) float32.
    """
    times: tuple[list[float], list[float]] = [], []
    started = time.perf_counter()
    with CORES.shared() as give_way:
        while True:
            for each, seconds in zip((first, other), times, strict=True):
                seconds.append(seconds_of(each, image))
            spent = time.perf_counter() - started
            confirmed = all(_is_confirmed(seconds) for seconds in times)
            if spent >= LONGEST_S or (spent >= LEAST_S and confirmed):
                return Speedup(min(times[0]) / min(times[1]), confirmed)
            give_way()


def _is_confirmed(seconds: list[float]) -> bool:
    shortest, second, *_ = [*sorted(seconds), math.inf]
    return second <= 1.05 * shortest


def seconds_of(descriptor: ImageModelDescriptor, image: Tensor) -> float:
    """Return how long a network takes for an image (1, C, H, W)."""
    started = time.perf_counter()
    precisions.run(descriptor, image)
    return time.perf_counter() - started


def kind_of(descriptor: ImageModelDescriptor) -> str:
    """Return a digest of what speed depends on: layers and their sizes, libraries, our kernels, processor, threads."""
    layers = [(name, list(each.shape), str(each.dtype)) for name, each in descriptor.model.named_parameters()]
    threads, level = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    libraries = [torch.__version__, spandrel.__version__]
    machine = [*libraries, KERNELS if has_kernels() else 0, platform.machine(), _processor(), level, threads]
    text = json.dumps([descriptor.architecture.id, precisions.is_autocast(descriptor), layers, machine])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _processor() -> str:
    """Return the processor's name, where Linux tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


class Choices:
    """Numbers by kind of network, kept in a file of the cache folder.

    Args:
        name: of the file. A file that is damaged counts as one that is empty.
    """

    def __init__(self, name: str) -> None:
        self._file = CacheFile(name, _MAX_KINDS, _is_number)
        self._known: dict[str, float] = {}

    def get(self, kind: str) -> float | None:
        """Return what this or an earlier process has chosen, None if nobody has."""
        if kind not in self._known:
            self._known.update(self._file.read())
        return self._known.get(kind)

    def put(self, kind: str, value: float, for_all: bool = True) -> None:
        """Keep a choice in this process and, if it is `for_all`, for others; they measure if it cannot be written."""
        self._known[kind] = value
        if for_all:
            with suppress(OSError, RuntimeError):
                self._file.put(kind, value)

    def forget(self) -> None:
        """Forget what this process knows; the file stays."""
        self._known.clear()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
