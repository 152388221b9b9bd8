"""A preview as values: models, crops and their images."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..images.region import Box
from .estimates import JobEstimate


@dataclass(frozen=True)
class Method:
    """One model of a preview.

    Attributes:
        name: as it is shown.
        target_size: (width, height) of the whole result.
        estimate: of the whole job.
    """

    name: str
    target_size: tuple[int, int]
    estimate: JobEstimate


@dataclass(frozen=True, eq=False)
class Crop:
    """One place.

    Attributes:
        box: of the source, upright.
        seconds: time of the frame; None for an image.
        whole: index of the frame's, or the image's, thumbnail.
        bicubic: (3, h, w) in [0, 1] for each method, in its size.
        results: (3, h, w) in [0, 1] of each method.
    """

    box: Box
    seconds: Fraction | None
    whole: int
    bicubic: tuple[Tensor, ...]
    results: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Preview:
    """Crops of a source beside bicubic. `sheet.draw_sheet` and `page.page_of` show it.

    Attributes:
        source: the file.
        source_size: (width, height), upright.
        frames: number of frames of a video; None for an image, or if it is unknown.
        methods: the models.
        crops: in the order in which they are shown.
        thumbnails: (3, h, w) in [0, 1] of the image, or of each frame.
        icc: color profile that describes all of them; None for sRGB.
        notes: sentences about how it is shown.
    """

    source: Path
    source_size: tuple[int, int]
    frames: int | None
    methods: tuple[Method, ...]
    crops: tuple[Crop, ...]
    thumbnails: tuple[Tensor, ...]
    icc: bytes | None
    notes: tuple[str, ...]

    @property
    def is_image(self) -> bool:
        """True for a single image, which has no times."""
        return self.crops[0].seconds is None
