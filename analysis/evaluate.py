"""Networks over a folder of images: how near each result is to the truth, and the means that papers report."""

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
from .pairs import Pair, find_pairs, without_a_large_one

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


@dataclass(frozen=True)
class Method:
    """What is measured: `enlarge` makes a color image (3, H, W) in [0, 1] `scale` times as large."""

    name: str
    scale: int
    enlarge: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, name: str, upscaler: Upscaler) -> Method:
        """A network, with whatever the upscaler was told of tiles, precision and self-ensemble."""
        return cls(name, upscaler.scale, lambda small: upscale_image(Picture(small), upscaler).color)

    @classmethod
    def bicubic(cls, scale: int) -> Method:
        """MATLAB's bicubic, of each color channel: what every network has to beat."""
        return cls("bicubic", scale, lambda x: imresize(x, (x.shape[-1] * scale, x.shape[-2] * scale)))


@dataclass(frozen=True)
class Row:
    """One image by one method; without `fidelity`, `error` is the sentence that says why."""

    image: str
    method: str
    scale: int
    fidelity: Fidelity | None = None
    error: str | None = None


def evaluate(methods: Iterable[Method], large: Path, small: Path | None = None) -> Iterator[Row]:
    """Measure each method on each image in the folder `large`, method after method.

    The large image is cut to a multiple of the scale. The small one comes from the folder `small`, or is made by
    MATLAB's bicubic (`images.imresize`) from the large one; see `find_pairs` for names. `methods` is asked for the next
    one when the last is finished, so that it can be loaded then.

    Images count in 8 bits and without transparency, gray as color. An image that cannot be read, has no partner, is
    transparent or too small becomes a row with an error, and the rest goes on.
    Raises PlanError where a folder is missing or empty, and what the network raises beside UpscaleError.
    """
    for method in methods:
        pairs = find_pairs(large, small, method.scale)
        if small is not None:
            for path in without_a_large_one(pairs, small, method.scale):
                warnings.warn(f"{path} is left out: there is no large one in {large}.", ImageFileWarning, stacklevel=2)
        for pair in pairs:
            try:
                fidelity = _measure(method, pair)
            except (ImageFileError, ComparisonError, UpscaleError) as error:
                yield Row(pair.name, method.name, method.scale, error=str(error))
            else:
                yield Row(pair.name, method.name, method.scale, fidelity)
        del method  # its network makes room for the next one


def mean_of(rows: Sequence[Row]) -> Fidelity | None:
    """The mean over the rows that have figures; None where none has."""
    known = [row.fidelity for row in rows if row.fidelity is not None]
    return mean(known) if known else None


def read_color(path: Path) -> Tensor:
    """An image file as papers see it: (3, H, W) float32 in [0, 1], in steps of 1/255.

    Raises ImageFileError where it cannot be read or where something of it is transparent; warns of more than 8 bits.
    """
    image = read_image(path)
    if image.alpha is not None and bool(image.alpha.min() < 1):
        raise ImageFileError(f"{path} is transparent; lay it on a background to measure its colors.")
    if image.bit_depth > 8:
        warnings.warn(f"{path} has 16 bits; it is measured in 8, as papers do.", ImageFileWarning, stacklevel=2)
    return ((image.color * 255).round() / 255).expand(3, -1, -1)


def _measure(method: Method, pair: Pair) -> Fidelity:
    if pair.error is not None:
        raise ImageFileError(f"{pair.error}.")
    scale = method.scale
    truth = read_color(pair.large)
    height, width = (side - side % scale for side in truth.shape[-2:])
    if not height or not width:
        raise ImageFileError(f"{pair.large} is {truth.shape[-1]}x{truth.shape[-2]}, too small to be shrunk by {scale}.")
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
