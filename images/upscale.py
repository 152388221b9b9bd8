"""One image through an Upscaler, to any size: gray, color and transparency in whatever channels the model has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .alpha import fill_transparent, keep_in_local_range
from .channels import from_batch, to_batch
from .io.atomic import check_target
from .io.files import check_size, format_of, read_image, write_image
from .io.picture import ImageFileError, Picture
from .resize import resize, resize_with_alpha
from .size import parse_size, runs_of_the_model

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


def target_size(picture: Picture, upscaler: Upscaler, size: str | None) -> tuple[int, int]:
    """(width, height) of the result; SizeError as `parse_size`."""
    return parse_size(size, picture.width, picture.height, upscaler.scale)


def upscale_image(
    picture: Picture,
    upscaler: Upscaler,
    *,
    size: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Picture:
    """Enlarge an image; profile, EXIF, resolution and bit depth are those of the source.

    size: as in `parse_size`; None is the model's scale. The model is run again on its own result while that is
    smaller than `size` in either direction, then one antialiased resampling in linear light gives the exact size.
    progress, cancelled: as the upscaler takes them, for each run of the model.
    Where the upscaler is seamless, the resampling and the transparency wrap around as well.
    Gray goes through a model of three channels three times over and comes back as the mean. Transparency that varies
    is enlarged by the model too, beside the color: edges of alpha and color then agree. Constant transparency stays
    exactly what it is.

    Raises SizeError, UpscaleError for a model of other than 1, 3 or 4 channels, and what the upscaler raises.
    """
    width, height = target_size(picture, upscaler, size)
    runs = list(runs_of_the_model(picture.width, picture.height, (width, height), upscaler.scale))
    seamless = upscaler.seamless
    color, alpha = picture.color, picture.alpha
    alpha_level = None if alpha is None else alpha.flatten()[0]
    alpha_varies = alpha is not None and bool(alpha.min() < alpha.max())
    if alpha is not None and alpha_varies:
        color = fill_transparent(color, alpha)

    batch = to_batch(color, alpha if alpha_varies else None, upscaler.input_channels)
    for _ in runs:
        batch = upscaler(batch, progress=progress, cancelled=cancelled)
    color, new_alpha = from_batch(batch, picture.color.shape[0], alpha_varies)
    del batch
    if alpha is not None and new_alpha is not None:
        new_alpha = keep_in_local_range(new_alpha, alpha, seamless=seamless)

    if color.shape[-2:] != (height, width):
        if new_alpha is None:
            color = resize(color[None], (width, height), seamless=seamless)[0]
        else:
            pair = resize_with_alpha(color[None], new_alpha[None], (width, height), seamless=seamless)
            color, new_alpha = pair[0][0], pair[1][0]
    if alpha_level is not None and new_alpha is None:
        new_alpha = alpha_level.expand(1, height, width).clone()
    return replace(picture, color=color, alpha=new_alpha)


def upscale_image_file(
    source: str | Path,
    target: str | Path,
    upscaler: Upscaler,
    *,
    size: str | None = None,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Picture:
    """Read, enlarge and write one file; the folder of `target` is made if it is missing. Returns what was written.

    Everything that can be refused is refused before the model runs. Raises ImageFileError, SizeError, and what
    the upscaler raises.
    """
    source, target = Path(source), Path(target)
    check_before_reading(source, target, format=format, overwrite=overwrite)
    picture = read_image(source)
    check_before_upscaling(picture, target, upscaler, size=size, format=format)
    larger = upscale_image(picture, upscaler, size=size, progress=progress, cancelled=cancelled)
    write_into_folder(target, larger, format=format, quality=quality, overwrite=overwrite, sources=[source])
    return larger


def check_before_reading(source: Path, target: Path, *, format: str | None, overwrite: bool) -> None:
    """Raise ImageFileError for a target that may not or cannot be written."""
    format_of(target, format)
    check_target(target, overwrite=overwrite, sources=[source])


def check_before_upscaling(
    picture: Picture, target: Path, upscaler: Upscaler, *, size: str | None, format: str | None
) -> None:
    """Raise SizeError or ImageFileError for a result too large, for anyone or for the file format."""
    width, height = target_size(picture, upscaler, size)
    check_size(target, format_of(target, format), width, height)


def write_into_folder(
    target: Path, picture: Picture, *, format: str | None, quality: int, overwrite: bool, sources: Sequence[Path]
) -> None:
    """`write_image`, making the folder first."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(f"{target} cannot be written: the folder cannot be made: {error}.") from error
    write_image(target, picture, format=format, quality=quality, overwrite=overwrite, sources=sources)
