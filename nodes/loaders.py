"""Nodes that load a model file: one for each of our families, and one for any architecture."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..inference import precision as precisions
from ..weights.errors import CheckpointError
from ..weights.files import read_header
from ..weights.loader import load_model
from . import folders, host
from .widgets import PRECISIONS

MEANS = {"auto": None, "0.5 (neosr)": (0.5,), "0 (none)": (0.0,)}
BASE_WINDOWS = ["auto", "4", "6", "8", "12", "16", "24"]  # 24 is the largest of any known network


def load(name: str, precision: str = "auto", mean: str = "auto", base_window: str = "auto") -> ImageModelDescriptor:
    """A file of the list as an UPSCALE_MODEL: fp32 images in and out, whatever it computes in."""
    path = folders.model_path(name)
    options: dict[str, Any] = {}
    if MEANS[mean] is not None:
        options["mean"] = MEANS[mean]
    if base_window != "auto":
        options["base_window"] = int(base_window)
    with torch.inference_mode(False):  # weights made in inference mode could be used nowhere else
        try:
            model = load_model(path, **options)
            metadata = read_header(path).metadata
        except CheckpointError as error:
            raise type(error)(name, error.problem) from error  # by the name the user knows
        if precision not in ("auto", "fp32"):
            model = in_half(model, precisions.PRECISIONS[precision])
    model.supertile_source = {"file": name, "metadata": metadata}
    return host.with_patcher(model)


def in_half(model: ImageModelDescriptor, dtype: torch.dtype) -> ImageModelDescriptor:
    """A copy that computes in half precision and is used like one in fp32."""
    model = precisions.cast(model, dtype, torch.device("cpu"))
    if not precisions.is_ours(model.model):  # ours cast what each layer is given, and end in fp32
        inner = model._call_fn

        def call(network: nn.Module, image: Tensor) -> Tensor:
            own = next(network.parameters()).dtype  # asked anew: a copy may have been cast again
            return inner(network, image.to(own)).to(image.dtype)

        model._call_fn = call
    return model


def precision_of(model: ImageModelDescriptor) -> str:
    """The precision that a loader gave a model; "auto" where it is in fp32, so that the Upscaler may choose."""
    dtypes = {parameter.dtype for parameter in model.model.parameters()}
    return next((name for name in ("fp16", "bf16") if precisions.PRECISIONS[name] in dtypes), "auto")


def _schema(node_id: str, family: str | None, title: str, about: str, aliases: list[str], more: list[Any]) -> io.Schema:
    kind = f"{family} models" if family else "Upscale models of every known architecture"
    return io.Schema(
        node_id=node_id,
        display_name=title,
        category="model/loaders",
        description=about,
        search_aliases=["upscale model", "super resolution", "supertile", *aliases],
        inputs=[
            io.Combo.Input(
                "model_name",
                options=folders.model_files(family),
                tooltip=f"{kind} in models/upscale_models, recognized by what is in the file; and the bundled ones, "
                "which are VapSR.",
            ),
            io.Combo.Input(
                "precision",
                options=PRECISIONS,
                default="auto",
                advanced=True,
                optional=True,
                tooltip="What the model computes in; images stay fp32. auto keeps fp32 for other nodes and lets "
                "those of Supertile take half precision where it measures no difference that could be seen.",
            ),
            *more,
        ],
        outputs=[io.UpscaleModel.Output()],
    )


def _mean() -> Any:
    return io.Combo.Input(
        "mean",
        options=list(MEANS),
        default="auto",
        advanced=True,
        optional=True,
        tooltip="What the model subtracts from an image. auto is what the file says, else the authors' value. Models "
        "trained with neosr need 0.5 and do not say so: choose it if colors come out wrong.",
    )


def _base_window() -> Any:
    return io.Combo.Input(
        "base_window",
        options=BASE_WINDOWS,
        default="auto",
        advanced=True,
        optional=True,
        tooltip="The base window in pixels, for models trained with an unusual one that the file does not tell.",
    )


class _Loader(io.ComfyNode):
    @classmethod
    def fingerprint_inputs(cls, model_name: str, **options: object) -> object:
        return folders.file_state(model_name)

    @classmethod
    def execute(cls, model_name: str, **options: str) -> io.NodeOutput:
        return io.NodeOutput(load(model_name, **options))


class LoadHATModel(_Loader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        about = "Load a HAT model (Hybrid Attention Transformer): the finest detail, and the slowest of the three."
        return _schema("SupertileLoadHATModel", "HAT", "Load HAT Model", about, ["hat", "hat-l", "hat-s"], [_mean()])


class LoadVapSRModel(_Loader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        about = "Load a VapSR model (vast-receptive-field pixel attention): small and fast."
        return _schema("SupertileLoadVapSRModel", "VapSR", "Load VapSR Model", about, ["vapsr", "vapsr-s"], [])


class LoadHiTSRModel(_Loader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        about = "Load a HiT-SR model (hierarchical transformer: HiT-SIR, HiT-SNG, HiT-SRF)."
        aliases = ["hit-sr", "hitsr", "hit-sir", "hit-sng", "hit-srf"]
        return _schema(
            "SupertileLoadHiTSRModel", "HiT-SR", "Load HiT-SR Model", about, aliases, [_mean(), _base_window()]
        )


class LoadAnyModel(_Loader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        about = (
            "Load an upscale model of any known architecture. HAT, VapSR and HiT-SR run through Supertile's own faster "
            "networks, everything else as in Load Upscale Model."
        )
        title = "Load Upscale Model (Supertile)"
        return _schema("SupertileLoadUpscaleModel", None, title, about, ["esrgan", "upscaler"], [])
