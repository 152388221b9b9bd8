"""The node that makes images larger."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..images.channels import to_batch
from ..images.io.picture import Picture
from ..images.size import runs_of_the_model
from ..images.upscale import upscale_image
from ..inference.errors import UpscaleError
from ..inference.upscaler import SEAMLESS
from . import host, widgets
from .progress import Progress
from .size import chosen_size
from .upscaling import upscaler_for


class UpscaleImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleImage",
            display_name="Upscale Image (Tiled)",
            category="image/upscaling",
            description="Make images larger with an upscale model, to any size, in tiles without seams. Keeps "
            "transparency. Runs the model again where once is not enough, then resamples once to the exact size.",
            search_aliases=["upscale", "upscaler", "enlarge image", "super resolution", "hires", "tile", "4k",
                            "increase resolution", "seamless texture", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="One image or a batch, with transparency or without."),
                widgets.size(),
                *widgets.computing(),
                widgets.advanced(
                    "seamless", list(SEAMLESS), "Sides that meet, for textures and panoramas. x: left and right. "
                    "y: top and bottom.",
                ),
                io.Boolean.Input(
                    "self_ensemble", default=False, advanced=True, optional=True,
                    tooltip="Average over eight flips and turns: eight times the work for a little more fidelity.",
                ),
            ],
            outputs=[io.Image.Output()],
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
    ) -> io.NodeOutput:
        host.check_model(upscale_model)
        options: dict[str, Any] = widgets.computing_options(tile, overlap, batch, precision)
        options |= {"seamless": seamless, "self_ensemble": self_ensemble}
        return io.NodeOutput(upscale(upscale_model, image, size, options))


def upscale(
    model: ImageModelDescriptor, images: Tensor, size: dict[str, Any] | None, options: dict[str, Any]
) -> Tensor:
    """IMAGE (N, H, W, C) -> IMAGE, each image as `upscale_image` gives it with the given options of Upscaler."""
    count, height, width, channels = images.shape
    if channels not in (1, 3, 4) or min(images.shape) < 1:
        raise UpscaleError(f"images have 1, 3 or 4 channels and at least one pixel, not the shape {images.shape}")
    wanted = chosen_size(size)
    target = wanted.of(width, height, model.scale)
    runs = list(runs_of_the_model(width, height, target, model.scale))
    largest = runs[-1][0] * runs[-1][1] * model.scale**2
    transparency = 2 if channels == 4 else 1
    needed = 4 * (count * channels * target[0] * target[1] + 3 * transparency * largest)
    host.check_ram(needed, "the images", "choose a smaller size or fewer images")

    bar = host.ProgressBar()
    with upscaler_for(model, *runs[-1], options) as upscaler:
        steps = [upscaler.steps(high, wide) for wide, high in runs]
        at_once = [_planes(image, upscaler.input_channels) for image in images]
        progress = Progress([each * of_run for each in at_once for of_run in steps], bar)
        result = host.empty_images(count, target[1], target[0], channels)
        for image, place in zip(images, result, strict=True):
            larger = upscale_image(_picture(image), upscaler, size=wanted, progress=progress, cancelled=host.cancelled)
            place[..., : larger.color.shape[0]] = larger.color.movedim(0, -1)
            if larger.alpha is not None:
                place[..., 3:] = larger.alpha.movedim(0, -1)
            bar.preview(place)
        return result


def _picture(image: Tensor) -> Picture:
    """One of an IMAGE (H, W, C), alpha straight; on the CPU, where results are put together."""
    planes = image.movedim(-1, 0).to("cpu", torch.float32).clamp(0, 1).contiguous()
    return Picture(planes) if planes.shape[0] < 4 else Picture(planes[:3], planes[3:])


def _planes(image: Tensor, model_channels: int) -> int:
    """How many images the model is given for one of ours: transparency that varies is one more."""
    pixel = _picture(image[:1, :1])
    varies = image.shape[-1] == 4 and bool(image[..., 3].min() < image[..., 3].max())
    return len(to_batch(pixel.color, pixel.alpha if varies else None, model_channels))
