"""Measure PSNR and SSIM of networks on a folder of images, and the means that papers report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..images.imresize import downscale, imresize
from ..images.io.errors import ImageFileError, ImageFileWarning
from ..images.io.files import read_image
from ..images.io.picture import Picture
from ..images.upscale import upscale_image
from ..inference.errors import UpscaleError
from .fidelity import ComparisonError, Fidelity, mean, measure
from .pairs import Pair, find_pairs, unpaired

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


@dataclass(frozen=True)
class Method:
    """A way to upscale: `enlarge` makes a color image (3, H, W) in [0, 1] `scale` times larger."""

    name: str
    scale: int
    enlarge: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, name: str, upscaler: Upscaler, progress: Callable[[int, int], None] | None = None) -> Method:
        """Return the method of an upscaler, with its tiles, precision and self-ensemble.

        Args:
            name: of the method.
            upscaler: the model.
            progress: called with the tiles done and the tiles known so far, after each batch.
        """
        return cls(name, upscaler.scale, lambda small: upscale_image(Picture(small), upscaler, progress=progress).color)

    @classmethod
    def bicubic(cls, scale: int) -> Method:
        """Return MATLAB's bicubic on each color channel, the baseline of papers."""
        return cls("bicubic", scale, lambda x: imresize(x, (x.shape[-1] * scale, x.shape[-2] * scale)))


@dataclass(frozen=True)
class Row:
    """The result of one method on one image: its fidelity, or the sentence that says why there is none."""

    image: str
    method: str
    scale: int
    fidelity: Fidelity | None = None
    error: str | None = None


def evaluate(methods: Iterable[Method], large: Path, small: Path | None = None) -> Iterator[Row]:
    """Measure each method on each image, method by method, and yield a row for each.

    Images are measured in 8 bits; gray counts as color. An image that cannot be read, has no counterpart, is
    transparent or too small becomes a row with an error, and the others go on.

    Args:
        methods: iterated lazily: the next one is taken when the last is finished, and can be loaded then.
        large: folder of high-resolution images; they are cropped to multiples of the scale.
        small: folder of low-resolution images, see `find_pairs` for their names; None makes them from the large ones
            with MATLAB's bicubic (`images.imresize`).

    Raises:
        PlanError: a folder is missing or empty.
    """
    for method in methods:
        pairs = find_pairs(large, small, method.scale)
        if small is not None:
            for path in unpaired(pairs, small, method.scale):
                warnings.warn(
                    f"{path} is ignored: {large} holds no large image of that name.", ImageFileWarning, stacklevel=2
                )
        for pair in pairs:
            try:
                fidelity = _measure(method, pair)
            except (ImageFileError, ComparisonError, UpscaleError) as error:
                yield Row(pair.name, method.name, method.scale, error=str(error))
            else:
                yield Row(pair.name, method.name, method.scale, fidelity)
        del method  # frees its network before the next one is loaded


def mean_of(rows: Sequence[Row]) -> Fidelity | None:
    """Return the mean over the rows that have figures; None if none has."""
    known = [row.fidelity for row in rows if row.fidelity is not None]
    return mean(known) if known else None


def read_color(path: Path) -> Tensor:
    """Read an image as papers do: (3, H, W) float32 in [0, 1], in steps of 1/255.

    Warns with ImageFileWarning of images with more than 8 bits.

    Raises:
        ImageFileError: the file cannot be read, or is transparent somewhere.
    """
    image = read_image(path)
    if image.alpha is not None and bool(image.alpha.min() < 1):
        raise ImageFileError(f"{path} has transparency; composite it onto a background to measure its colors.")
    if image.bit_depth > 8:
        warnings.warn(
            f"{path} has 16 bits per channel and is measured in 8, as in papers.", ImageFileWarning, stacklevel=2
        )
    return ((image.color * 255).round() / 255).expand(3, -1, -1)


def _measure(method: Method, pair: Pair) -> Fidelity:
    if pair.error is not None:
        raise ImageFileError(f"{pair.error}.")
    scale = method.scale
    truth = read_color(pair.large)
    height, width = (side - side % scale for side in truth.shape[-2:])
    if not height or not width:
        raise ImageFileError(f"{pair.large} is {truth.shape[-1]}x{truth.shape[-2]}, too small to shrink by {scale}.")
    truth = truth[:, :height, :width]
    if pair.small is None:
        small = downscale(truth, scale)
    else:
        small = read_color(pair.small)
        if small.shape[-2:] != (height // scale, width // scale):
            raise ImageFileError(
                f"{pair.small} is {small.shape[-1]}x{small.shape[-2]}, but the small image of {pair.large} "
                f"at x{scale} is {width // scale}x{height // scale}."
            )
    try:
        return measure(method.enlarge(small), truth, border=scale)
    except ComparisonError as error:
        raise ComparisonError(f"{pair.large} cannot be measured: {error}.") from None
