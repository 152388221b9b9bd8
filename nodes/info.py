"""The node that describes a model, as text and as a small image."""

from __future__ import annotations

from comfy_api.latest import io, ui
from spandrel import ImageModelDescriptor

from ..weights.naming import source_of
from . import host
from .loaders import precision_of
from .model_facts import describe
from .text_image import draw


class UpscaleModelInfo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleModelInfo",
            display_name="Upscale Model Info (Supertile)",
            category="model/info",
            description="Show what an upscale model is: family, variant, scale and parameters; also license and "
            "origin, if the file states them and a loader of Supertile has read it.",
            search_aliases=["model info", "license", "licence", "metadata", "supertile"],
            inputs=[io.UpscaleModel.Input("upscale_model")],
            outputs=[io.String.Output(display_name="info"), io.Image.Output(display_name="image")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, upscale_model: ImageModelDescriptor) -> io.NodeOutput:
        host.check_model(upscale_model)
        precision = precision_of(upscale_model)
        text = describe(upscale_model, "fp32" if precision == "auto" else precision, **source_of(upscale_model))
        return io.NodeOutput(text, draw(text), ui=ui.PreviewText(text))
