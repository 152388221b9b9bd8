"""Draw a preview as one image: a row for each crop, bicubic first, then the models."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ..analysis.panels import Panel, draw_panels
from ..images.io.files import write_image
from ..images.io.picture import Picture
from .labels import bicubic_name, headline, job_of, place_of
from .result import Preview


def write_sheet(preview: Preview, path: str | Path, *, overwrite: bool = False) -> None:
    """Write `draw_sheet` as an image file, whose folder must exist. The source is never replaced.

    Raises:
        ImageFileError: the file cannot or must not be written.
    """
    write_image(path, draw_sheet(preview), overwrite=overwrite, sources=[preview.source])


def draw_sheet(preview: Preview) -> Picture:
    """Draw all crops with the names of the models, the places and the estimates.

    Where the models' results differ in size, each size has its own bicubic, and the pixels of smaller ones are
    repeated.

    Returns:
        An image of 8 bits with the color profile of the source.
    """
    panels: list[Panel] = []
    columns = 0
    methods = preview.methods
    for crop in preview.crops:
        row: list[Panel] = []
        sizes: set[tuple[int, int]] = set()
        for number, method in sorted(enumerate(methods), key=lambda each: _first_of_size(preview, each[0])):
            if method.target_size not in sizes:
                sizes.add(method.target_size)
                row.append(Panel(crop.bicubic[number], (bicubic_name(preview, method), place_of(crop))))
            row.append(Panel(crop.results[number], (method.name, place_of(crop))))
        panels += _of_one_size(row)
        columns = len(row)
    title = [headline(preview), *(f"{method.name}: {job_of(method)}" for method in methods), *preview.notes]
    return Picture(draw_panels(panels, columns, title), icc=preview.icc)


def _first_of_size(preview: Preview, number: int) -> int:
    """Return the first method whose result is as large as that of a method."""
    sizes = [each.target_size for each in preview.methods]
    return sizes.index(sizes[number])


def _of_one_size(panels: list[Panel]) -> list[Panel]:
    """Repeat the pixels of small images, and fill what is left with the last ones."""
    height, width = (max(panel.image.shape[axis] for panel in panels) for axis in (-2, -1))
    grown = []
    for panel in panels:
        times = max(1, min(height // panel.image.shape[-2], width // panel.image.shape[-1]))
        image = panel.image.repeat_interleave(times, -1).repeat_interleave(times, -2)
        grown.append(Panel(_filled(image, height, width), panel.lines))
    return grown


def _filled(image: Tensor, height: int, width: int) -> Tensor:
    """Continue an image to the right and below in white."""
    return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]), value=1.0)
