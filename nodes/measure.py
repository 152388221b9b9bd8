"""The nodes that measure a model: which pixels it uses, and what tiles cost it."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..analysis.attribution import STEPS, Patch, attribute
from ..analysis.gradients import LARGEST_BUDGET, Differentiable
from ..analysis.heatmaps import attribution_panels, draw_panels, seam_panels
from ..analysis.seams import BELOW, SeamCheck
from ..images.channels import to_batch
from ..inference.errors import UpscaleError
from . import host, widgets

WHOLE_SIDE = 1024
"""Images that are differentiated or computed whole: beyond, somebody has connected a large one by mistake."""


class LocalAttributionMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"min": 0, "max": WHOLE_SIDE, "step": 1}
        return io.Schema(
            node_id="SupertileLocalAttributionMap",
            display_name="Local Attribution Map",
            category="model/info",
            description="Which pixels of a small image an upscale model uses for a patch of its result, as a map "
            "over the image, with the diffusion index (DI).",
            search_aliases=["LAM", "attribution", "saliency", "diffusion index", "interpret", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="The small image; of a batch, the first. Best 64 to 128 pixels."),
                io.Int.Input("x", default=0, **side, tooltip="Left side of the patch, in pixels of the image."),
                io.Int.Input("y", default=0, **side, tooltip="Upper side of the patch, in pixels of the image."),
                io.Int.Input("patch_size", default=0, **side,
                             tooltip="Side of the patch in pixels of the image. 0: 4 pixels in the middle."),
                io.Int.Input("steps", default=STEPS, min=1, max=256, step=1, advanced=True, optional=True,
                             tooltip="Points of the path from a blurred image to the image itself."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The image with the patch, and the map over it."),
                io.Mask.Output(display_name="map", tooltip="What each pixel adds; the largest is 1."),
                io.Float.Output(display_name="diffusion_index", tooltip="From 0 (one pixel) to 100 (all alike)."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        upscale_model: ImageModelDescriptor,
        image: Tensor,
        x: int = 0,
        y: int = 0,
        patch_size: int = 0,
        steps: int = STEPS,
    ) -> io.NodeOutput:
        result = _result(upscale_model, image)
        network: Differentiable | None = None
        try:
            model, device = host.to_device(upscale_model, LARGEST_BUDGET)
            network = Differentiable(model, device=device, cancelled=host.cancelled)
            bar = host.ProgressBar()

            def progress(done: int, total: int) -> None:
                host.cancelled()
                bar(done, total)

            found = attribute(
                network, result, Patch(x, y, patch_size) if patch_size else None, steps=steps, progress=progress
            )
        finally:
            network = None
            host.give_back_memory()
        drawn = _image(draw_panels(attribution_panels(result, [(upscale_model.architecture.name, found)])))
        strength = found.map / found.map.max().clamp(min=1e-20)
        shown = ui.PreviewImage(drawn, cls=cls).as_dict()
        return io.NodeOutput(drawn, strength[None], found.diffusion_index, ui=shown)


class SeamCheckNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileSeamCheck",
            display_name="Seam Check",
            category="model/info",
            description="How far an image upscaled in tiles is from the same image computed whole, where, and the "
            "smallest overlap that is enough for this model.",
            search_aliases=["seams", "tile", "overlap", "tiling error", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="The small image, larger than a tile; of a batch, the first."),
                io.Combo.Input("tile", options=[t for t in widgets.TILES if t.isdecimal()], default="128",
                               tooltip="Longest side of a tile in pixels of the source."),
                io.Combo.Input("overlap", options=widgets.OVERLAPS, default="auto",
                               tooltip="What neighboring tiles share at least, in pixels of the source."),
                io.Boolean.Input("search", default=False,
                                 tooltip="Also look for the smallest overlap that is enough, from 0 upwards."),
                io.Float.Input("below", default=BELOW, min=0.001, max=255.0, step=0.1, round=0.001,
                               tooltip="The largest difference that is enough, in steps of an 8-bit image."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Where the differences are."),
                io.Float.Output(display_name="largest", tooltip="The largest difference, in steps of 1/255."),
                io.Int.Output(display_name="smallest_overlap", tooltip="-1: none is enough, or none was looked for."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        upscale_model: ImageModelDescriptor,
        image: Tensor,
        tile: str = "128",
        overlap: str = "auto",
        search: bool = False,
        below: float = BELOW,
    ) -> io.NodeOutput:
        result = _result(upscale_model, image)
        height, width = result.shape[1:]
        check: SeamCheck | None = None
        try:
            needed = host.activation_bytes(upscale_model, width, height, "whole", 1)
            model, device = host.to_device(upscale_model, needed)
            check = SeamCheck(
                model, result, int(tile), device=device, precision="fp32", cancelled=host.cancelled,
                progress=host.ProgressBar(),
            )  # fmt: skip
            found = check.measure(overlap if overlap == "auto" else int(overlap))
            smallest = check.smallest(below) if search else None
        finally:
            check = None
            host.give_back_memory()
        drawn = _image(draw_panels(seam_panels(found)))
        shown = ui.PreviewImage(drawn, cls=cls).as_dict()
        return io.NodeOutput(drawn, found.largest, -1 if smallest is None else smallest.overlap, ui=shown)


def _result(model: ImageModelDescriptor, image: Tensor) -> Tensor:
    """The first of an IMAGE, without its transparency, in the channels of the model."""
    host.check_model(model)
    count, height, width, channels = image.shape
    if channels not in (1, 3, 4) or not count or not 0 < min(height, width) <= max(height, width) <= WHOLE_SIDE:
        raise UpscaleError(
            f"models are measured on images of up to {WHOLE_SIDE}x{WHOLE_SIDE} pixels with 1, 3 or 4 channels, not "
            f"on {width}x{height} with {channels}"
        )
    planes = image[0, ..., : 3 if channels == 4 else channels].movedim(-1, 0).to("cpu", torch.float32).clamp(0, 1)
    return to_batch(planes.contiguous(), None, model.input_channels)[0]


def _image(pixels: Tensor) -> Tensor:
    """(3, H, W) -> IMAGE."""
    return pixels.movedim(0, -1)[None].contiguous()
