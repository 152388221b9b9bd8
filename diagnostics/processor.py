"""The processor: its name, the instructions that matter here, and how many of its cores other programs leave."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..inference.cores import Load

INSTRUCTIONS = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "amx_int8", "amx_fp16"),
    *("asimd", "bf16", "i8mm", "sve", "sve2", "sme"),
)
"""Those that decide how fast a network is, by Linux's names."""

LOOK_S = 0.5
"""How long the load of other programs is looked at."""


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: as the system tells it.
        machine: its kind, such as "x86_64".
        instructions: which of INSTRUCTIONS it has; None where the system does not tell.
        cores: of the machine, as the system counts them.
        usable: those that this process may use.
        busy: so many of them other programs keep busy; None where the system does not tell.
    """

    name: str
    machine: str
    instructions: list[str] | None
    cores: int
    usable: int
    busy: float | None


def processor() -> Processor:
    """Describe the processor; takes LOOK_S."""
    load = Load()
    time.sleep(LOOK_S)
    measured = load.measure(time.monotonic())
    cores = os.cpu_count() or 1
    return Processor(
        processor_name(), platform.machine(), _instructions(), cores, len(load.cores) or cores,
        None if measured is None else round(max(measured[0], 0.0), 2),
    )  # fmt: skip


def processor_name() -> str:
    """Return the processor's name, or its kind where the system does not tell."""
    name = next(_values("model name"), "")
    return name or platform.processor() or platform.machine()


def _instructions() -> list[str] | None:
    words = next(_values("flags", "Features"), None)
    if words is None:
        return None
    has = set(words.split())
    return [name for name in INSTRUCTIONS if name in has]


def _values(*keys: str) -> Iterator[str]:
    """Yield what Linux tells of the cores under one of these words."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in keys:
                yield value.strip()
