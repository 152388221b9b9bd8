"""Write an evaluation as CSV or JSON."""

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
    """Group rows by (method, scale), in their order."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.scale), []).append(row)
    return groups


def as_csv(rows: Sequence[Row]) -> str:
    """Return a line for each row, and one with image "mean" for each method; equal images have a PSNR of "inf"."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "method", "scale", *_FIGURES, "error"])
    for (method, scale), its_rows in by_method(rows).items():
        for row in [*its_rows, Row("mean", method, scale, mean_of(its_rows))]:
            figures = [""] * len(_FIGURES) if row.fidelity is None else list(asdict(row.fidelity).values())
            writer.writerow([row.image, method, scale, *figures, row.error or ""])
    return text.getvalue()


def as_json(rows: Sequence[Row], about: Mapping[str, Mapping[str, Any]], benchmark: str | None, **facts: Any) -> str:
    """Return methods with their rows and means, and the published results on the benchmark.

    The PSNR of equal images is null, since JSON has no infinity. An image that was not measured has an error instead of
    figures.

    Args:
        rows: of all methods.
        about: name of a method -> further entries for it.
        benchmark: a key of `published.SETS`, or None.
        facts: further entries for the whole document.
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
