"""Upscale part of an image as the whole image would be: with context around it that is computed and cut off."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ..inference.resample import Part, resample
from .alpha import fill_transparent
from .io.picture import Picture
from .resize import resize, resize_with_alpha
from .size import Size, runs_of_the_model
from .upscale import run_network, transfer_of

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_FILL = 64  # pixels: the pyramid that fills invisible pixels halves this often before it sees where the part lies


class Box(NamedTuple):
    """A rectangle of pixels; right and bottom are the first column and row beyond it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    def scaled(self, source: tuple[int, int], target: tuple[int, int]) -> Box:
        """Return the box of the same place, at least a pixel large, in an image resized from `source` to `target`."""
        left, top = (round(at * new / old) for at, old, new in zip(self[:2], source, target, strict=True))
        width, height = (
            max(1, round(side * new / old))
            for side, old, new in zip((self.width, self.height), source, target, strict=True)
        )
        left, top = min(left, target[0] - 1), min(top, target[1] - 1)
        return Box(left, top, min(left + width, target[0]), min(top + height, target[1]))


@dataclass(frozen=True)
class RegionPlan:
    """Which pixels are computed for part of an image.

    Attributes:
        outer: the box of the source that goes through the network.
        network_size: (width, height) of what the network makes of it.
        part: how that is resampled to the part wanted.
        scales: of the input of each run, relative to the source.
        work: pixels that go through the network, in all of its runs.
    """

    outer: Box
    network_size: tuple[int, int]
    scales: tuple[int, ...]
    part: Part
    work: int

    @classmethod
    def of(
        cls, box: Box, source: tuple[int, int], target: tuple[int, int], upscaler: Upscaler, *, multiple: int = 1
    ) -> RegionPlan:
        """Plan part of an image.

        The context is the overlap of tiles for each run of the network, and what the kernel of a resampling reads. The
        origin lies on the network's windows.

        Args:
            box: of the source.
            source: (width, height) of the whole source.
            target: (width, height) of its whole result.
            upscaler: the model.
            multiple: the origin is a multiple of it, as for subsampled chroma.

        Raises:
            SizeError: an intermediate image would be too large.
        """
        runs = len(list(runs_of_the_model(*source, target, upscaler.scale)))
        factor = upscaler.scale**runs
        context = sum(upscaler.overlap / upscaler.scale**run for run in range(runs))
        kernel = 2 * max(1 / factor, source[0] / target[0], source[1] / target[1]) + 1
        margin, step = math.ceil(context + kernel), math.lcm(upscaler.grid, multiple)
        outer = Box(
            max(0, (box.left - margin) // step * step),
            max(0, (box.top - margin) // step * step),
            min(source[0], -(-(box.right + margin) // step) * step),
            min(source[1], -(-(box.bottom + margin) // step) * step),
        )
        network_size = outer.width * factor, outer.height * factor
        whole = source[0] * factor, source[1] * factor
        part = Part(whole, (outer.left * factor, outer.top * factor), box.scaled(source, target))
        passes = runs_of_the_model(outer.width, outer.height, network_size, upscaler.scale)
        scales = tuple(upscaler.scale**run for run in range(runs))
        return cls(outer, network_size, scales, part, sum(width * height for width, height in passes))


def upscale_region(
    picture: Picture,
    box: Box,
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Picture:
    """Upscale part of an image.

    The result equals that part of `upscale_image`'s result as closely as tiles equal the whole image: to rounding where
    the receptive field fits into the context. Channel attention (HAT) sees the part instead of the image.

    Args:
        picture: the whole image.
        box: of the part, inside the image.
        upscaler: the model, not seamless.
        size: of the whole result, as `upscale_image` takes it; what it crops counts, bars do not.
        cancelled: as `upscale_image` takes it.

    Returns:
        The part, with the size of `box.scaled(...)`; metadata are those of the image.

    Raises:
        SizeError, UpscaleError, ImageFileError, Cancelled: as `upscale_image`.
    """
    source = picture.width, picture.height
    target = Size.coerce(size).framing(*source, upscaler.scale).scaled
    plan = RegionPlan.of(box, source, target, upscaler)
    given = cropped(picture, plan.outer)
    if picture.alpha is None or bool(picture.alpha.min() == picture.alpha.max()):
        large, alpha = run_network(given.color, None, upscaler, plan.scales, cancelled=cancelled)
        alpha_level = None if picture.alpha is None else picture.alpha[:, :1, :1]
    else:
        color, alpha = _filled(picture, plan.outer), given.alpha
        large, alpha = run_network(color, alpha, upscaler, plan.scales, cancelled=cancelled)
        alpha_level = None
    transfer = transfer_of(picture)
    if plan.part.source == target:
        large = resample(large, target, part=plan.part)
        alpha = None if alpha is None else resample(alpha, target, part=plan.part)
    elif alpha is None:
        large = resize(large[None], target, transfer=transfer, part=plan.part)[0]
    else:
        pair = resize_with_alpha(large[None], alpha[None], target, transfer=transfer, part=plan.part)
        large, alpha = pair[0][0], pair[1][0]
    if alpha_level is not None:
        alpha = alpha_level.expand(1, *large.shape[-2:]).clone()
    return replace(picture, color=large, alpha=alpha)


def _filled(picture: Picture, box: Box) -> Tensor:
    """Return the color of part of an image with invisible pixels filled as in the whole, but for far away colors."""
    around = Box(
        max(0, box.left // _FILL - 1) * _FILL,
        max(0, box.top // _FILL - 1) * _FILL,
        min(picture.width, (box.right // _FILL + 2) * _FILL),
        min(picture.height, (box.bottom // _FILL + 2) * _FILL),
    )
    given = cropped(picture, around)
    assert given.alpha is not None
    filled = fill_transparent(given.color, given.alpha)
    left, top = box.left - around.left, box.top - around.top
    return filled[:, top : top + box.height, left : left + box.width]


def cropped(picture: Picture, box: Box) -> Picture:
    """Return part of an image as it is."""
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)

    def of(planes: Tensor) -> Tensor:
        return planes[:, rows, columns].contiguous()

    alpha = None if picture.alpha is None else of(picture.alpha)
    return replace(picture, color=of(picture.color), alpha=alpha)
