"""The node that measures how much tiles change the result."""

from __future__ import annotations

from comfy_api.latest import io, ui
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..analysis.heatmaps import seam_panels
from ..analysis.panels import draw_panels
from ..analysis.seams import BELOW, SeamCheck
from . import host, widgets
from .measured_image import as_image, network_input


class SeamCheckNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileSeamCheck",
            display_name="Seam Check",
            category="model/info",
            description="Measure how much an image upscaled in tiles differs from the same image computed whole, show "
            "where, and find the smallest overlap that is enough for this model.",
            search_aliases=["seams", "tile", "overlap", "tiling error", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Image.Input("image", tooltip="The source image, larger than a tile; the first of a batch."),
                io.Combo.Input("tile", options=[t for t in widgets.TILES if t.isdecimal()], default="128",
                               tooltip="Longest side of a tile, in pixels of the source."),
                io.Combo.Input("overlap", options=widgets.OVERLAPS, default="auto",
                               tooltip="Width that neighboring tiles share at least, in pixels of the source."),
                io.Boolean.Input("search", default=False,
                                 tooltip="Also find the smallest overlap that is enough, starting from 0."),
                io.Float.Input("below", default=BELOW, min=0.001, max=255.0, step=0.1, round=0.001,
                               tooltip="Largest acceptable difference, in steps of an 8-bit image."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Where the images differ."),
                io.Float.Output(display_name="largest", tooltip="Largest difference, in steps of 1/255."),
                io.Int.Output(display_name="smallest_overlap", tooltip="-1: no overlap was enough, or search was off."),
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
        source = network_input(upscale_model, image)
        height, width = source.shape[1:]
        check: SeamCheck | None = None
        try:
            needed = host.activation_bytes(upscale_model, width, height, "whole", 1)
            model, device = host.to_device(upscale_model, needed)
            check = SeamCheck(
                model, source, int(tile), device=device, precision="fp32", cancelled=host.cancelled,
                progress=host.ProgressBar(),
            )  # fmt: skip
            seams = check.measure(overlap if overlap == "auto" else int(overlap))
            smallest = check.smallest(below) if search else None
        finally:
            check = None
            host.give_back_memory()
        drawn = as_image(draw_panels(seam_panels(seams)))
        shown = ui.PreviewImage(drawn, cls=cls).as_dict()
        return io.NodeOutput(drawn, seams.largest, -1 if smallest is None else smallest.overlap, ui=shown)
