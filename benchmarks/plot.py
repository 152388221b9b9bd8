"""Time against pixels, and time against batch, as one PNG. Needs matplotlib, the extra `bench`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..images.io.atomic import atomic_file
from .errors import BenchError
from .report import Row


def check_possible() -> None:
    """Raise BenchError if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchError("A plot needs matplotlib: pip install 'supertile[bench]'")


def write_plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw time against pixels (left) and against batch (right), replacing `path` when complete. Raises BenchError."""
    check_possible()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize="medium")
    pixels, batch = figure.subplots(1, 2)
    _draw(pixels, by_pixels(rows), "pixels of the input", "seconds", 10)
    _draw(batch, by_batch(rows), "batch", "milliseconds per image", 2)
    with atomic_file(path, overwrite=True) as file:
        figure.savefig(file, format="png", dpi=120)


Lines = dict[str, list[tuple[float, float]]]


def by_pixels(rows: Sequence[Row]) -> Lines:
    """Return label -> (pixels, seconds), rising: contenders with several sizes, or single points if there are none."""
    lines: Lines = {}
    for row in rows:
        if row.tile == "auto" and row.batch == "auto" and row.images == 1:
            lines.setdefault(f"{row.network}: {row.contender}", []).append((row.width * row.height, row.median))
    several = {label: sorted(points) for label, points in lines.items() if len(points) > 1}
    return several or lines


def by_batch(rows: Sequence[Row]) -> Lines:
    """Return label -> (batch, milliseconds per image), rising."""
    lines: Lines = {}
    for row in rows:
        if isinstance(row.batch, int):
            label = f"{row.network}, {row.precision}: {row.images} images of {row.width}x{row.height}"
            lines.setdefault(label, []).append((row.batch, row.median / row.images * 1000))
    return {label: sorted(points) for label, points in lines.items()}


def _draw(axes: Any, lines: Lines, across: str, up: str, base: int) -> None:
    markers = "osv^D<>pX"  # nine markers and ten colors: ninety different lines
    for index, (label, points) in enumerate(lines.items()):
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker=markers[index % len(markers)], markersize=5, label=label)
    axes.set_xscale("log", base=base)
    axes.set_yscale("log")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(True, which="both", alpha=0.3)
    if lines:
        axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(0, -0.1), frameon=False)
    else:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
