"""An evaluation as CSV and as JSON, for scripts and papers."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from .evaluate import Row, mean_of
from .fidelity import Fidelity
from .published import published

_FIGURES = [field.name for field in fields(Fidelity)]


def by_method(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    """(method, scale) -> its rows, in the order in which they came."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.method, row.scale), []).append(row)
    return found


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each row, and for each method one whose image is "mean"; equal images have a PSNR of "inf"."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "method", "scale", *_FIGURES, "error"])
    for (method, scale), its_rows in by_method(rows).items():
        for row in [*its_rows, Row("mean", method, scale, mean_of(its_rows))]:
            figures = [""] * len(_FIGURES) if row.fidelity is None else list(asdict(row.fidelity).values())
            writer.writerow([row.image, method, scale, *figures, row.error or ""])
    return text.getvalue()


def as_json(rows: Sequence[Row], about: Mapping[str, Mapping[str, Any]], benchmark: str | None, **facts: Any) -> str:
    """Methods with their rows and means, and the figures that are published of the benchmark.

    about: name of a method -> what else is to be said of it. facts: of the whole. PSNR of equal images is null, since
    JSON has no infinity; an image that was not measured has no figures but an error.
    """
    methods = []
    for (method, scale), its_rows in by_method(rows).items():
        images = [{"image": row.image, **_figures(row.fidelity), "error": row.error} for row in its_rows]
        means = _figures(mean_of(its_rows))
        methods.append({"name": method, "scale": scale, **about.get(method, {}), "mean": means, "images": images})
    known = [asdict(each) for scale in _scales(rows) for each in published(benchmark, scale)] if benchmark else []
    document = {**facts, "benchmark": benchmark, "methods": methods, "published": known}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _figures(fidelity: Fidelity | None) -> dict[str, float | None]:
    if fidelity is None:
        return {}
    return {name: value if math.isfinite(value) else None for name, value in asdict(fidelity).items()}


def _scales(rows: Sequence[Row]) -> list[int]:
    return sorted({row.scale for row in rows})
