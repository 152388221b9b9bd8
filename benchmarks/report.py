"""What was measured, as rows of figures: ratios, FLOP/s, the share of the machine's peak, and JSON."""

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
from .turns import Measured


@dataclass(frozen=True)
class Row:
    """One contender on one input.

    median, fastest, slowest: seconds. ratio: its median over that of the case's first contender, "ours" in fp32;
    ratio_low and ratio_high: the same of single rounds, the least and the largest. flops: of the network by its
    definition, whatever is computed; work: what its tiles come to over that of the whole image. share: of the peak
    of this machine in this precision, a 3x3 convolution that took its turns in the same rounds. memory: bytes, growth
    at the peak, with the images in and out; memory_without_images: less the input, and what of the results is
    kept. difference and agreement (dB): from the first contender, where both are
    clamped to [0, 1].
    """

    case: str
    network: str
    contender: str
    way: str
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
        return self.slowest / self.fastest


def rows(measured: list[Measured]) -> list[Row]:
    """Of one case. The first contender of each input is the one that the others are held against."""
    return [row for one_input in _by_input(measured) for row in _rows(one_input)]


def failures(measured: list[Measured]) -> list[str]:
    """A sentence for each contender that was left out."""
    return [f"{m.case.network.name}, {m.contender.name}: {m.failed}" for m in measured if m.failed]


def peaks(measured: list[Measured]) -> dict[str, float]:
    """Precision -> FLOP/s of the convolution: of its median, on the input beside which it was fastest."""
    found: dict[str, float] = {}
    for m in measured:
        if m.contender.way == PEAK and m.flops and m.times:
            name = m.contender.precision
            found[name] = max(found.get(name, 0.0), m.flops / m.median)
    return found


@dataclass(frozen=True)
class Speedup:
    """How many times as fast as a peer we are on one input, by precision."""

    network: str
    input: str
    peer: str
    times: dict[str, float]


def speedups(rows: list[Row]) -> list[Speedup]:
    """Against each peer of a case: the median of its times over that of ours, in every precision that was measured."""
    found = []
    for shown in dict.fromkeys((row.width, row.height, row.images) for row in rows):
        of_it = [row for row in rows if (row.width, row.height, row.images) == shown]
        ours = {row.precision: row.median for row in of_it if (row.way, row.tile, row.batch) == (OURS, "auto", "auto")}
        found += [
            Speedup(row.network, f"{shown[0]}x{shown[1]}", row.contender, {p: row.median / m for p, m in ours.items()})
            for row in of_it
            if row.way != OURS
        ]
    return found


def said(speedup: Speedup) -> str:
    times = ", ".join(f"{times:.2f} times as fast in {precision}" for precision, times in speedup.times.items())
    return f"{speedup.network}, {speedup.input}, beside {speedup.peer}: {times}"


def _by_input(measured: list[Measured]) -> Iterator[list[Measured]]:
    for shown in dict.fromkeys(m.input for m in measured):
        yield [m for m in measured if m.input == shown and m.times and not m.failed]


def _rows(measured: list[Measured]) -> Iterator[Row]:
    if not measured:
        return
    first, peak = measured[0], peaks(measured)
    config = config_of(first.case.network)
    for m in measured:
        if m.contender.way == PEAK:
            continue
        shown = m.input
        each = flops(config, shown.height, shown.width)
        total = None if each is None else each * shown.images
        ratios = [a / b for a, b in zip(m.times, first.times, strict=False)]
        yield Row(
            case=m.case.name,
            network=m.case.network.name,
            contender=m.contender.name,
            way=m.contender.way,
            precision=m.contender.precision,
            tile=m.contender.tile,
            batch=m.contender.batch,
            width=shown.width,
            height=shown.height,
            images=shown.images,
            rounds=len(m.times),
            median=m.median,
            fastest=min(m.times),
            slowest=max(m.times),
            ratio=m.median / first.median,
            ratio_low=min(ratios),
            ratio_high=max(ratios),
            seconds_per_megapixel=m.median / shown.pixels * 1e6,
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
    """Replaces `path` when all is written. An agreement without end (not a bit differs) becomes null."""
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
