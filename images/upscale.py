"""Upscale one image to any size: gray, color and transparency, through whatever channels the model has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..inference.finish import keep_colors, mix
from .alpha import fill_transparent, keep_in_local_range
from .channels import from_batch, to_batch
from .framing import Framing
from .io.atomic import check_target
from .io.errors import ImageFileError
from .io.files import read_image, write_image
from .io.formats import ImageFormat, format_of
from .io.opening import free_memory
from .io.picture import Picture
from .jobs import FileJob
from .masks import Region, region_of
from .memory import PIXELS_WITHOUT_CHECK, result_bytes, shortage
from .resize import resize, resize_with_alpha
from .size import Size, runs_of_the_model
from .transfer import SRGB, Transfer, gamma, transfer_of_cicp

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)


def upscale_image(
    picture: Picture,
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    mask: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Picture:
    """Upscale an image; its metadata and bit depth are kept.

    The model runs again on its own result while that is smaller than `size` in either direction, then one antialiased
    resampling in linear light, as the image's color tags define it, makes the exact size, which is cropped or gets bars
    if `size` says so. If the upscaler is seamless, resampling and transparency wrap around as well.

    Gray goes through a model of three channels as equal channels and comes back as their mean. Transparency that varies
    is upscaled by the model too, beside the color, so that the edges of both agree. Constant transparency stays exactly
    what it is.

    What the upscaler does beside the model (`strength`, `keep_colors`) is done at the size of the result. Only where
    that is smaller than the source, the colors are corrected before the last resampling.

    Args:
        picture: the image, as `read_image` returns it.
        upscaler: the model, with 1, 3 or 4 channels.
        size: of the result, as text (see `Size.parse`) or as a value; None is the model's own scale.
        mask: (H', W') in [0, 1] of any size, resized to the image's: 1 where the model's result is wanted. Elsewhere
            the image is resampled (bicubic), with a border of 8 source pixels that blends both, and tiles outside are
            not computed. Without any mark the model does not run, which the log says.
        progress: called with the tiles done and the tiles known so far, for each run of the model.
        cancelled: called before each batch of tiles; if it returns True, Cancelled is raised.

    Raises:
        ImageFileError: the result does not fit into memory.
        SizeError: the size is not understood, is zero, or is too large.
        UpscaleError: the model has other channels, and for any reason that the upscaler has.
        Cancelled: `cancelled` returned True.
    """
    framing = Size.coerce(size).framing(picture.width, picture.height, upscaler.scale)
    width, height = framing.scaled
    runs = list(runs_of_the_model(picture.width, picture.height, (width, height), upscaler.scale))
    network_size = runs[-1][0] * upscaler.scale, runs[-1][1] * upscaler.scale
    finished = upscaler.finish.active or mask is not None
    if (problem := _shortage(picture, network_size, framing, finished=finished)) is not None:
        raise ImageFileError(problem)
    seamless = upscaler.seamless
    color, alpha = picture.color, picture.alpha
    alpha_level = None if alpha is None else alpha.flatten()[0]
    alpha_varies = alpha is not None and bool(alpha.min() < alpha.max())
    if alpha is not None and alpha_varies:
        color = fill_transparent(color, alpha)

    region = None if mask is None else region_of(mask, picture.width, picture.height)
    if region is not None and region.empty:
        _log.warning("The mask marks nothing, so the image is resampled, and the model does not run.")
    if upscaler.finish.strength == 0 or (region is not None and region.empty):
        runs = []

    source, source_alpha = color, alpha if alpha_varies else None
    color, new_alpha = run_network(
        color,
        source_alpha,
        upscaler.for_depth(picture.bit_depth),
        [wide // picture.width for wide, _ in runs],
        region=region,
        progress=progress,
        cancelled=cancelled,
    )

    finish, enlarged = upscaler.finish, width > picture.width and height > picture.height
    corrected = partial(keep_colors, seamless=seamless, eight_bits=picture.bit_depth <= 8)
    if finish.keep_colors and not enlarged and runs:
        color = corrected(color, source)
    if color.shape[-2:] != (height, width):
        transfer = transfer_of(picture)
        if new_alpha is None:
            color = resize(color[None], (width, height), seamless=seamless, transfer=transfer)[0]
        else:
            pair = resize_with_alpha(
                color[None], new_alpha[None], (width, height), seamless=seamless, transfer=transfer
            )
            color, new_alpha = pair[0][0], pair[1][0]
    if finish.strength < 1 or region is not None:
        weight = finish.strength if region is None else finish.strength * region.weight_at(width, height)
        color = mix(color, source, weight, seamless=seamless)
        if new_alpha is not None and source_alpha is not None:
            new_alpha = mix(new_alpha, source_alpha, weight, seamless=seamless)
    if finish.keep_colors and enlarged:
        color = corrected(color, source)
    if alpha_level is not None and new_alpha is None:
        new_alpha = alpha_level.expand(1, height, width).clone()
    color, new_alpha = framing.place(color, new_alpha)
    return replace(picture, color=color, alpha=new_alpha)


def run_network(
    color: Tensor,
    alpha: Tensor | None,
    upscaler: Upscaler,
    scales: Sequence[int],
    *,
    region: Region | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Upscale by the model alone, once or several times.

    Args:
        color: (1 or 3, H, W), with invisible pixels filled (`fill_transparent`).
        alpha: (1, H, W) if it varies.
        upscaler: the model.
        scales: of the input of each run, relative to the image: 1, 4, 16 for three runs of a model of scale 4.
        region: where the result is needed; None: everywhere.
        progress, cancelled: as `upscale_image` takes them.

    Raises:
        UpscaleError, Cancelled: as `upscale_image`.
    """
    batch = to_batch(color, alpha, upscaler.input_channels)
    for run, scale in enumerate(scales):
        needed = None
        if region is not None:
            needed = region.needed(scale, beside=0 if run == len(scales) - 1 else upscaler.overlap)
        batch = upscaler.network(batch, again=run > 0, mask=needed, progress=progress, cancelled=cancelled)
    large, large_alpha = from_batch(batch, color.shape[0], alpha is not None)
    if alpha is not None and large_alpha is not None:
        large_alpha = keep_in_local_range(large_alpha, alpha, seamless=upscaler.seamless)
    return large, large_alpha


def memory_shortage(picture: Picture, upscaler: Upscaler, size: Size) -> str | None:
    """Return a sentence if the result of an image does not fit into the memory that is free, else None.

    Raises:
        SizeError: as `upscale_image`.
    """
    framing = size.framing(picture.width, picture.height, upscaler.scale)
    *_, (width, height) = runs_of_the_model(picture.width, picture.height, framing.scaled, upscaler.scale)
    network_size = width * upscaler.scale, height * upscaler.scale
    return _shortage(picture, network_size, framing, finished=upscaler.finish.active)


def _shortage(picture: Picture, network_size: tuple[int, int], framing: Framing, *, finished: bool) -> str | None:
    target = max(framing.size, framing.scaled, key=lambda size: size[0] * size[1])
    largest = max(network_size[0] * network_size[1], target[0] * target[1])
    if largest <= PIXELS_WITHOUT_CHECK or (free := free_memory()) is None:
        return None
    has_alpha = picture.alpha is not None
    channels = picture.color.shape[0] + has_alpha
    needed = result_bytes(channels, picture.bit_depth, network_size, target, has_alpha=has_alpha, finished=finished)
    return shortage(needed, free, network_size, target)


def transfer_of(picture: Picture) -> Transfer:
    """Return how values encode light, by PNG's order of precedence: cICP, a profile (taken for sRGB's), gAMA."""
    tags = picture.color_tags
    if tags.cicp_transfer is not None:
        return transfer_of_cicp(tags.cicp_transfer)
    return SRGB if picture.icc or tags.exponent is None else gamma(tags.exponent)


def upscale_image_file(
    source: str | Path,
    target: str | Path,
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    format: ImageFormat | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    mask: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Picture:
    """Read, upscale and write one image file, and return what was written.

    Whatever can be refused is refused before the model runs.

    Args:
        source: the image file to read.
        target: the file to write; its folder is created if it is missing.
        upscaler: the model.
        size: of the result, as text (see `Size.parse`) or as a value; None is the model's own scale.
        format: "png", "jpg", "webp" or "tiff"; None goes by the suffix of `target`.
        quality: 1 to 100, for JPEG and WebP; a WebP of 100 is lossless.
        overwrite: replace `target` if it exists. The source is never replaced.
        mask: where the model's result is wanted, as `upscale_image` takes it; `mask_file.read_mask` reads one.
        progress: called with the tiles done and the tiles known so far, for each run of the model.
        cancelled: called before each batch of tiles; if it returns True, Cancelled is raised.

    Raises:
        ImageFileError: a file cannot be read or written.
        SizeError: the size is not understood, is zero, or is too large.
        UpscaleError: the model cannot take the image, or memory does not suffice.
        Cancelled: `cancelled` returned True.
    """
    job = FileJob(Path(source), Path(target), format_of(target, format))
    size = Size.coerce(size)
    picture = read_source(job, upscaler, size, overwrite=overwrite)
    own_size = size_for(job, size)
    larger = upscale_image(picture, upscaler, size=own_size, mask=mask, progress=progress, cancelled=cancelled)
    write_result(job, larger, quality=quality, overwrite=overwrite)
    return larger


def read_source(job: FileJob, upscaler: Upscaler, size: Size, *, overwrite: bool) -> Picture:
    """Read the source of a job. Raises ImageFileError or SizeError for a result that could not be written."""
    check_target(job.target, overwrite=overwrite, sources=[job.source])
    picture = read_image(job.source)
    width, height = size.of(picture.width, picture.height, upscaler.scale)
    format_of(job.target, job.format).check_size(job.target, width, height)
    return picture


def size_for(job: FileJob, size: Size) -> Size:
    """Return the size for the target of a job: where its format has no transparency, bars are black."""
    return size if format_of(job.target, job.format).has_alpha else size.with_opaque_bars()


def write_result(job: FileJob, picture: Picture, *, quality: int, overwrite: bool) -> None:
    """Write the result of a job; its folder is created if it is missing."""
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"{job.target} cannot be written: its folder cannot be created: {error.strerror or error}."
        ) from error
    write_image(job.target, picture, format=job.format, quality=quality, overwrite=overwrite, sources=[job.source])
