"""The node that upscales images."""

from __future__ import annotations

import time
from typing import Any

import torch
from comfy_api.latest import io, ui
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..images.channels import to_batch
from ..images.io.picture import Picture
from ..images.memory import PIXELS_WITHOUT_CHECK, result_bytes, shortage
from ..images.size import runs_of_the_model
from ..images.upscale import upscale_image
from ..images.words import duration_in_words
from ..inference.errors import UpscaleError
from ..inference.upscaler import SEAMLESS
from . import host, widgets
from .finite import check_finite, numbered
from .progress import Progress
from .size import chosen_size
from .upscaling import upscaler_for


class UpscaleImage(widgets.TiledNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleImage",
            display_name="Upscale Image (Supertile)",
            category="image/upscaling",
            description="Upscale images to any size with an upscale model, in tiles without visible seams. Keeps "
            "transparency. If one pass of the model is not enough, it runs again; the result is then resampled once to "
            "the exact size.",
            search_aliases=["upscale", "upscaler", "image upscale", "upscale with model", "enlarge image",
                            "super resolution", "increase resolution", "hires", "tiled upscale", "batched", "4k",
                            "seamless texture", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="One image or a batch, with or without transparency."),
                widgets.size(),
                *widgets.computing(),
                widgets.advanced(
                    "seamless", list(SEAMLESS), "Edges that wrap around, for textures and panoramas. x: left and "
                    "right. y: top and bottom. both: all four.",
                ),
                io.Boolean.Input(
                    "self_ensemble", default=False, advanced=True, optional=True,
                    tooltip="Average the results of eight flips and rotations: eight times the work for slightly "
                    "higher fidelity.",
                ),
                *widgets.finishing(),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="Where to use the model; elsewhere the image is resampled. Faster, because tiles outside "
                    "the mask are not computed. One mask for each image, or one for all, of any size.",
                ),
            ],
            outputs=[io.Image.Output()],
            has_intermediate_output=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        upscale_model: ImageModelDescriptor,
        image: Tensor,
        size: dict[str, Any] | None = None,
        tile: str = "auto",
        overlap: str = "auto",
        batch: str = "auto",
        precision: str = "auto",
        seamless: str = "none",
        self_ensemble: bool = False,
        keep_colors: str = "no",
        strength: float = 1.0,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        host.check_model(upscale_model)
        options: dict[str, Any] = widgets.computing_options(tile, overlap, batch, precision)
        options |= {"seamless": seamless, "self_ensemble": self_ensemble}
        options |= widgets.finishing_options(keep_colors, strength)
        begin = time.monotonic()
        larger = upscale(upscale_model, image, size, options, mask)
        report = _report(image, larger, upscale_model.scale, begin, is_masked=mask is not None and not bool(mask.any()))
        return io.NodeOutput(larger, ui=ui.PreviewText(report))


def upscale(
    model: ImageModelDescriptor,
    images: Tensor,
    size: dict[str, Any] | None,
    options: dict[str, Any],
    masks: Tensor | None = None,
) -> Tensor:
    """Upscale each image of an IMAGE by `upscale_image`.

    Args:
        model: as a loader returned it.
        images: (N, H, W, C) in [0, 1], of 1, 3 or 4 channels.
        size: value of the widget `widgets.size`.
        options: arguments of the Upscaler, see `widgets.computing_options` and `widgets.finishing_options`.
        masks: a MASK (M, H, W) of any size, of one mask for each image or one for all; None: everywhere.

    Returns:
        An IMAGE (N, H', W', C).

    Raises:
        UpscaleError: the images do not fit into memory, or have a shape that cannot be upscaled.
        SizeError: the size is not offered or out of range.
    """
    count, height, width, channels = images.shape
    if channels not in (1, 3, 4) or min(images.shape) < 1:
        raise UpscaleError(
            f"An image needs 1, 3 or 4 channels and at least one pixel; this one has the shape {tuple(images.shape)}."
        )
    for number, image in enumerate(images, 1):
        check_finite(image, numbered("image", number, count))
    if masks is not None and (masks := masks.reshape(-1, *masks.shape[-2:])).shape[0] not in (1, count):
        raise UpscaleError(f"There are {len(masks)} masks for {count} images; connect one for each, or one for all.")
    wanted = chosen_size(size)
    target = wanted.of(width, height, model.scale)
    runs = list(runs_of_the_model(width, height, target, model.scale))
    network_size = runs[-1][0] * model.scale, runs[-1][1] * model.scale
    finished = options["keep_colors"] or options["strength"] < 1 or masks is not None
    _check_memory(count, channels, network_size, target, finished=finished)

    bar = host.ProgressBar()
    with upscaler_for(model, *runs[-1], options) as upscaler:
        steps = [upscaler.steps(high, wide) for wide, high in runs]
        at_once = [_planes(image, upscaler.input_channels) for image in images]
        progress = Progress([each * of_run for each in at_once for of_run in steps], bar)
        result = host.empty_images(count, target[1], target[0], channels)
        for number, (image, place) in enumerate(zip(images, result, strict=True), 1):
            mask = None if masks is None else masks[(number - 1) % len(masks)]
            larger = upscale_image(
                _picture(image), upscaler, size=wanted, mask=mask, progress=progress, cancelled=host.cancelled
            )
            place[..., : larger.color.shape[0]] = larger.color.movedim(0, -1)
            if larger.alpha is not None:
                place[..., 3:] = larger.alpha.movedim(0, -1)
            if number < count:  # the page keeps the last preview, with its size, beside the larger result
                bar.preview(place)
        return result


def _report(images: Tensor, larger: Tensor, scale: int, begin: float, *, is_masked: bool) -> str:
    """Return what was done as lines of text.

    Args:
        images, larger: before and after.
        scale: of the model.
        begin: time of the start, as `time.monotonic` gives it.
        is_masked: True if the mask left nothing to the model.
    """
    count, height, width, _ = images.shape
    target = larger.shape[2], larger.shape[1]
    *before, (wide, high) = runs_of_the_model(width, height, target, scale)
    lines = [
        *([f"images: {count}"] if count > 1 else []),
        f"size: {width}x{height} -> {target[0]}x{target[1]}",
        f"time: {duration_in_words(time.monotonic() - begin, measured=True)}",
    ]
    if is_masked:
        return "\n".join([*lines, "note: The mask is empty, so the image was only resampled."])
    if before:
        lines.append(f"note: The model ran {len(before) + 1} times, to {wide * scale}x{high * scale}.")
    if (wide * scale, high * scale) != target:
        lines.append(f"note: Resampled from {wide * scale}x{high * scale} to the exact size.")
    return "\n".join(lines)


def _check_memory(
    count: int, channels: int, network_size: tuple[int, int], target: tuple[int, int], *, finished: bool
) -> None:
    """Raise UpscaleError for results that do not fit into the memory that is free, before any is computed."""
    results = count * target[0] * target[1]
    largest = max(results, network_size[0] * network_size[1])
    if largest <= PIXELS_WITHOUT_CHECK:
        return
    needed = 4 * channels * results
    needed += result_bytes(channels, 8, network_size, target, has_alpha=channels == 4, finished=finished)
    if (problem := shortage(needed, host.free_ram(), network_size, target, count=count)) is not None:
        raise UpscaleError(problem)


def _picture(image: Tensor) -> Picture:
    """Return one image (H, W, C), with straight alpha, on the CPU, where results are put together."""
    planes = image.movedim(-1, 0).to("cpu", torch.float32).clamp(0, 1).contiguous()
    return Picture(planes) if planes.shape[0] < 4 else Picture(planes[:3], planes[3:])


def _planes(image: Tensor, model_channels: int) -> int:
    """Return how many images the model computes for this one: transparency that varies is one more."""
    pixel = _picture(image[:1, :1])
    varies = image.shape[-1] == 4 and bool(image[..., 3].min() < image[..., 3].max())
    return len(to_batch(pixel.color, pixel.alpha if varies else None, model_channels))
