"""Measurements as rows of figures: ratios, FLOP/s, share of the machine's peak; and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..images.io.atomic import atomic_file
from .contenders import OURS, PEAK
from .flops import flops
from .networks import config_of
from .rounds import Measured


@dataclass(frozen=True)
class Row:
    """One contender on one workload.

    Attributes:
        case, network, contender, backend, precision, tile, batch: what was measured.
        width, height, images: the workload.
        rounds: passes that were timed.
        median, fastest, slowest: seconds.
        ratio: the median over that of the case's first contender, ours in fp32.
        ratio_low, ratio_high: smallest and largest ratio in a single round.
        seconds_per_megapixel: of the input.
        flops: of the network by its definition, however it is computed.
        flops_per_second: `flops` over the median.
        share: of this machine's peak in this precision, a 3x3 convolution measured in the same rounds.
        work: FLOPs of all tiles over those of the whole image.
        memory: bytes by which memory grew at its peak, with input and results.
        memory_without_images: `memory` less the input and the results that are kept.
        difference: largest difference from the first contender, both clamped to [0, 1].
        agreement: PSNR against the first contender in dB, both clamped to [0, 1], with its range as the peak.
    """

    case: str
    network: str
    contender: str
    backend: str
    precision: str
    tile: int | str
    batch: int | str
    width: int
    height: int
    images: int
    rounds: int
    median: float
    fastest: float
    slowest: float
    ratio: float
    ratio_low: float
    ratio_high: float
    seconds_per_megapixel: float
    flops: float | None
    flops_per_second: float | None
    share: float | None
    work: float | None
    memory: int | None
    memory_without_images: int | None
    difference: float | None
    agreement: float | None

    @property
    def spread(self) -> float:
        """Time of the slowest pass over that of the fastest."""
        return self.slowest / self.fastest


def rows(measured: list[Measured]) -> list[Row]:
    """Return the rows of one case. The first contender on each workload is the reference of the others."""
    return [row for group in _by_workload(measured) for row in _rows(group)]


def failures(measured: list[Measured]) -> list[str]:
    """Return a sentence for each contender that was left out."""
    return [f"{m.case.network.name}, {m.contender.name}: {m.failed}" for m in measured if m.failed]


def peaks(measured: list[Measured]) -> dict[str, float]:
    """Return precision -> FLOP/s of the convolution, by its median, on the workload where it was fastest."""
    rates: dict[str, float] = {}
    for m in measured:
        if m.contender.backend == PEAK and m.flops and m.times:
            name = m.contender.precision
            rates[name] = max(rates.get(name, 0.0), m.flops / m.median)
    return rates


@dataclass(frozen=True)
class Speedup:
    """Our speed on one workload relative to a peer's: precision -> times as fast."""

    network: str
    workload: str
    peer: str
    times: dict[str, float]


def speedups(rows: list[Row]) -> list[Speedup]:
    """Return the speedup over each peer: its median over ours, in every precision that was measured."""
    result = []
    for workload in dict.fromkeys((row.width, row.height, row.images) for row in rows):
        on_workload = [row for row in rows if (row.width, row.height, row.images) == workload]
        ours = {
            row.precision: row.median
            for row in on_workload
            if (row.backend, row.tile, row.batch) == (OURS, "auto", "auto")
        }
        result += [
            Speedup(
                row.network, f"{workload[0]}x{workload[1]}", row.contender, {p: row.median / m for p, m in ours.items()}
            )
            for row in on_workload
            if row.backend != OURS
        ]
    return result


def speedup_text(speedup: Speedup) -> str:
    """Return a speedup as a sentence."""
    times = ", ".join(f"{times:.2f} times as fast in {precision}" for precision, times in speedup.times.items())
    return f"{speedup.network}, {speedup.workload}, compared with {speedup.peer}: {times}"


def _by_workload(measured: list[Measured]) -> Iterator[list[Measured]]:
    for workload in dict.fromkeys(m.workload for m in measured):
        yield [m for m in measured if m.workload == workload and m.times and not m.failed]


def _rows(measured: list[Measured]) -> Iterator[Row]:
    if not measured:
        return
    first, peak = measured[0], peaks(measured)
    config = config_of(first.case.network)
    for m in measured:
        if m.contender.backend == PEAK:
            continue
        workload = m.workload
        each = flops(config, workload.height, workload.width)
        total = None if each is None else each * workload.images
        ratios = [a / b for a, b in zip(m.times, first.times, strict=False)]
        yield Row(
            case=m.case.name,
            network=m.case.network.name,
            contender=m.contender.name,
            backend=m.contender.backend,
            precision=m.contender.precision,
            tile=m.contender.tile,
            batch=m.contender.batch,
            width=workload.width,
            height=workload.height,
            images=workload.images,
            rounds=len(m.times),
            median=m.median,
            fastest=min(m.times),
            slowest=max(m.times),
            ratio=m.median / first.median,
            ratio_low=min(ratios),
            ratio_high=max(ratios),
            seconds_per_megapixel=m.median / workload.pixels * 1e6,
            flops=total,
            flops_per_second=None if total is None else total / m.median,
            share=None if total is None or m.contender.precision not in peak
            else total / m.median / peak[m.contender.precision],
            work=None if total is None else sum(flops(config, *tile) or 0 for tile in m.tiles) / total,
            memory=m.memory,
            memory_without_images=None if m.memory is None else max(m.memory - m.kept, 0),
            difference=m.difference,
            agreement=m.agreement,
        )  # fmt: skip


def write_json(path: Path, machine: dict[str, Any], sections: dict[str, Any]) -> None:
    """Write the figures, replacing `path` when they are complete. An infinite agreement becomes null."""
    text = json.dumps({"machine": machine} | sections, indent=1, default=_plain, allow_nan=False)
    with atomic_file(path, overwrite=True) as file:
        file.write(text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        values = asdict(value)
        if values["agreement"] == float("inf"):
            values["agreement"] = None
        return values
    return str(value)
