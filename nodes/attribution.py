"""The node that shows which pixels a model uses for a patch of its result."""

from __future__ import annotations

from comfy_api.latest import io, ui
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..analysis.attribution import STEPS, Patch, attribute
from ..analysis.gradients import LARGEST_BUDGET, Differentiable
from ..analysis.heatmaps import attribution_panels
from ..analysis.panels import draw_panels
from . import host
from .measured_image import MAX_SIDE, as_image, network_input


class LocalAttributionMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"min": 0, "max": MAX_SIDE, "step": 1}
        return io.Schema(
            node_id="SupertileLocalAttributionMap",
            display_name="Local Attribution Map",
            category="model/info",
            description="Show which pixels of a small image an upscale model uses for a patch of its result: a map "
            "over the image, and the diffusion index (DI).",
            search_aliases=["LAM", "attribution", "saliency", "diffusion index", "interpret", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="A small image, ideally 64 to 128 pixels; the first of a batch."),
                io.Int.Input("x", default=0, **side, tooltip="Left edge of the patch, in pixels of the image."),
                io.Int.Input("y", default=0, **side, tooltip="Top edge of the patch, in pixels of the image."),
                io.Int.Input("patch_size", default=0, **side,
                             tooltip="Side of the patch, in pixels of the image. 0: 4 pixels in the center."),
                io.Int.Input("steps", default=STEPS, min=1, max=256, step=1, advanced=True, optional=True,
                             tooltip="Steps on the path from a blurred image to the image itself."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The image with the patch, and with the map over it."),
                io.Mask.Output(display_name="map", tooltip="Contribution of each pixel; the largest is 1."),
                io.Float.Output(display_name="diffusion_index",
                                tooltip="From 0 (one pixel) to 100 (all pixels equally)."),
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
        source = network_input(upscale_model, image)
        network: Differentiable | None = None
        try:
            model, device = host.to_device(upscale_model, LARGEST_BUDGET)
            network = Differentiable(model, device=device, cancelled=host.cancelled)
            bar = host.ProgressBar()

            def progress(done: int, total: int) -> None:
                host.cancelled()
                bar(done, total)

            attribution = attribute(
                network, source, Patch(x, y, patch_size) if patch_size else None, steps=steps, progress=progress
            )
        finally:
            network = None
            host.give_back_memory()
        drawn = as_image(draw_panels(attribution_panels(source, [(upscale_model.architecture.name, attribution)])))
        strength = attribution.map / attribution.map.max().clamp(min=1e-20)
        shown = ui.PreviewImage(drawn, cls=cls).as_dict()
        return io.NodeOutput(drawn, strength[None], attribution.diffusion_index, ui=shown)
