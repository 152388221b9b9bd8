"""The nodes that make one upscale model of several: one after the other, or blended."""

from __future__ import annotations

from comfy_api.latest import io
from spandrel import ImageModelDescriptor

from ..inference import precision as precisions
from ..weights.combined import CombinedNetwork, blend_models, chain_models
from . import host
from .loaders import in_half, precision_of

NAMES = [f"model_{number}" for number in range(1, 9)]


class ChainUpscaleModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileChainUpscaleModels",
            display_name="Chain Upscale Models",
            category="model/loaders",
            description="Make one upscale model of several that run one after the other, such as a 1x repair and a 4x "
            "upscaler. Use it like any other upscale model, for images and videos.",
            search_aliases=["chain", "sequence", "combine upscale models", "two models", "1x", "repair", "restore",
                            "dejpeg", "denoise then upscale", "multi model", "supertile"],
            inputs=[
                io.Autogrow.Input(
                    "models", template=io.Autogrow.TemplateNames(io.UpscaleModel.Input("model"), NAMES, min=2),
                    tooltip="The models in the order in which they run.",
                ),
            ],
            outputs=[io.UpscaleModel.Output()],
        )  # fmt: skip

    @classmethod
    def execute(cls, models: io.Autogrow.Type) -> io.NodeOutput:
        given = [models[name] for name in NAMES if models.get(name) is not None]
        chain = chain_models(*map(host.own_copy, given))
        return io.NodeOutput(host.with_patcher(chain))


class BlendUpscaleModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileBlendUpscaleModels",
            display_name="Blend Upscale Models",
            category="model/loaders",
            description="Make an upscale model between two of the same scale. If both have the same architecture and "
            "size, their weights are blended, which costs no time; otherwise both run and their results are averaged.",
            search_aliases=["blend", "interpolate", "merge upscale models", "mix models", "average", "ensemble",
                            "net interpolation", "alpha", "denoise strength", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.UpscaleModel.Input("other_model", tooltip="A model of the same scale."),
                io.Float.Input(
                    "weight", default=0.5, min=0.0, max=1.0, step=0.05, round=0.001,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Share of the other model. 0: only the first. 1: only the other.",
                ),
            ],
            outputs=[io.UpscaleModel.Output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, upscale_model: ImageModelDescriptor, other_model: ImageModelDescriptor, weight: float = 0.5
    ) -> io.NodeOutput:
        precision = precision_of(host.own_copy(upscale_model))
        blend = blend_models(host.own_copy(upscale_model), host.own_copy(other_model), weight)
        if precision != "auto" and precision_of(blend) == "auto" and not isinstance(blend.model, CombinedNetwork):
            blend = in_half(blend, precisions.PRECISIONS[precision])  # as the first was loaded
        return io.NodeOutput(host.with_patcher(blend))
