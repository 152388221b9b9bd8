"""The node that makes pictures larger."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..images.channels import to_batch
from ..images.picture import Picture
from ..images.size import parse_size, runs_of_the_model
from ..images.upscale import upscale_picture
from ..inference import precision as precisions
from ..inference.errors import UpscaleError
from ..inference.upscaler import SEAMLESS, Upscaler
from . import host
from .loaders import precision_of
from .progress import Progress
from .size import EXACT, FACTOR, LONGEST_SIDE, MEGAPIXELS, MODEL_SCALE, size_words

LARGEST_SIDE = 100_000
WHOLE = "whole picture"
TILES = ["auto", WHOLE, *(str(side) for side in (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048))]
OVERLAPS = ["auto", "0", "8", "16", "24", "32", "48", "64", "96", "128"]
BATCHES = ["auto", "1", "2", "4", "8", "16", "32", "64"]


class UpscaleImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleImage",
            display_name="Upscale Image (Tiled)",
            category="image/upscaling",
            description="Make pictures larger with an upscale model, to any size, in tiles without seams. Keeps "
            "transparency. Runs the model again where once is not enough, then resamples once to the exact size.",
            search_aliases=["upscale", "upscaler", "enlarge image", "super resolution", "hires", "tile", "4k",
                            "increase resolution", "seamless texture", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="One picture or a batch, with transparency or without."),
                io.DynamicCombo.Input("size", options=_sizes(), tooltip="How large the result is to be."),
                _advanced("tile", TILES, "Longest side of a tile in pixels of the source. auto: from the memory."),
                _advanced("overlap", OVERLAPS, "What neighbouring tiles share, in pixels of the source. auto: as much "
                          "as the architecture needs for tiles that cannot be seen."),
                _advanced("batch", BATCHES, "Tiles computed at once. auto: from the memory."),
                _advanced("precision", PRECISIONS, "auto: as the model was loaded, else half precision where it "
                          "measures no difference that could be seen."),
                _advanced("seamless", list(SEAMLESS), "Sides that continue at the opposite side: textures, panoramas."),
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
        options: dict[str, Any] = {
            "tile": None if tile == WHOLE else _number(tile),
            "overlap": _number(overlap),
            "batch": _number(batch),
            "precision": precision_of(upscale_model) if precision == "auto" else precision,
            "seamless": seamless,
            "self_ensemble": self_ensemble,
        }
        return io.NodeOutput(upscale(upscale_model, image, size, options))


def upscale(
    model: ImageModelDescriptor, images: Tensor, size: dict[str, Any] | None, options: dict[str, Any]
) -> Tensor:
    """IMAGE (N, H, W, C) -> IMAGE, each picture as `upscale_picture` gives it with the given options of Upscaler."""
    count, height, width, channels = images.shape
    if channels not in (1, 3, 4) or min(images.shape) < 1:
        raise UpscaleError(f"pictures have 1, 3 or 4 channels and at least one pixel, not the shape {images.shape}")
    words = size_words(size, width, height)
    target = parse_size(words, width, height, model.scale)
    runs = list(runs_of_the_model(width, height, target, model.scale))
    largest = runs[-1][0] * runs[-1][1] * model.scale**2
    transparency = 2 if channels == 4 else 1
    host.check_ram(4 * (count * channels * target[0] * target[1] + 3 * transparency * largest), "the pictures")

    bar = host.ProgressBar()
    upscaler = None
    try:
        needed = host.activation_bytes(model, *runs[-1], options["tile"], options["batch"])
        bare, device = host.to_device(model, needed)
        if options["precision"] == "fp32" and precision_of(bare) != "auto":
            bare = precisions.cast(bare, precisions.PRECISIONS["fp32"], device)
        upscaler = Upscaler(bare, device=device, cancelled=host.cancelled, **options)
        tiles = [len(upscaler.plan(high, wide)) for wide, high in runs]
        at_once = [_planes(image, upscaler.input_channels) for image in images]
        upscaler.progress = Progress([each * of_run for each in at_once for of_run in tiles], bar)
        result = host.empty_images(count, target[1], target[0], channels)
        for image, place in zip(images, result, strict=True):
            larger = upscale_picture(_picture(image), upscaler, size=words)
            place[..., : larger.color.shape[0]] = larger.color.movedim(0, -1)
            if larger.alpha is not None:
                place[..., 3:] = larger.alpha.movedim(0, -1)
            bar.preview(place)
        return result
    finally:
        upscaler = bare = None
        host.give_back_memory()


def _picture(image: Tensor) -> Picture:
    """One of an IMAGE (H, W, C), alpha straight; on the CPU, where results are put together."""
    planes = image.movedim(-1, 0).to("cpu", torch.float32).clamp(0, 1).contiguous()
    return Picture(planes) if planes.shape[0] < 4 else Picture(planes[:3], planes[3:])


def _planes(image: Tensor, model_channels: int) -> int:
    """How many pictures the model is given for one of ours: transparency that varies is one more."""
    pixel = _picture(image[:1, :1])
    varies = image.shape[-1] == 4 and bool(image[..., 3].min() < image[..., 3].max())
    return len(to_batch(pixel.color, pixel.alpha if varies else None, model_channels))


def _number(choice: str) -> int | str:
    return choice if choice == "auto" else int(choice)


PRECISIONS = ["auto", *precisions.PRECISIONS]


def _advanced(name: str, choices: list[str], tooltip: str) -> Any:
    return io.Combo.Input(name, options=choices, default=choices[0], advanced=True, optional=True, tooltip=tooltip)


def _sizes() -> list[Any]:
    whole = {"min": 1, "max": LARGEST_SIDE, "step": 1}
    return [
        io.DynamicCombo.Option(MODEL_SCALE, []),
        io.DynamicCombo.Option(FACTOR, [
            io.Float.Input("factor", default=2.0, min=0.05, max=16.0, step=0.05, tooltip="Times larger."),
        ]),
        io.DynamicCombo.Option(MEGAPIXELS, [
            io.Float.Input("megapixels", default=8.0, min=0.01, max=1000.0, step=0.1,
                           tooltip="Million pixels; the aspect ratio is kept."),
        ]),
        io.DynamicCombo.Option(LONGEST_SIDE, [
            io.Int.Input("longest_side", default=3840, min=32, max=LARGEST_SIDE, step=1,
                         tooltip="Pixels of the longer side; the aspect ratio is kept."),
        ]),
        io.DynamicCombo.Option(EXACT, [
            io.Int.Input("width", default=3840, **whole, tooltip="Pixels; stretched where the aspect ratio differs."),
            io.Int.Input("height", default=2160, **whole, tooltip="Pixels; stretched where the aspect ratio differs."),
        ]),
    ]  # fmt: skip
