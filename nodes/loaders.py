"""The nodes that load a model file: one for each family of Supertile, and one for any architecture."""

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
BASE_WINDOWS = ["auto", "4", "6", "8", "12", "16", "24"]  # no known network has a larger one


def load(name: str, precision: str = "auto", mean: str = "auto", base_window: str = "auto") -> ImageModelDescriptor:
    """Load a file of the list as an UPSCALE_MODEL.

    Args:
        name: file name as in the node's list.
        precision: precision that the model computes in; images stay fp32.
        mean: one of MEANS: what the network subtracts from an image.
        base_window: one of BASE_WINDOWS; for HiT-SR only.

    Raises:
        CheckpointError: the file cannot be loaded; the message has its name in the list, not its path.
    """
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
            raise type(error)(name, error.problem) from error
        if precision not in ("auto", "fp32"):
            model = in_half(model, precisions.PRECISIONS[precision])
    model.supertile_source = {"file": name, "metadata": metadata}
    return host.with_patcher(model)


def in_half(model: ImageModelDescriptor, dtype: torch.dtype) -> ImageModelDescriptor:
    """Return a copy that computes in half precision but takes and returns fp32 images."""
    model = precisions.cast(model, dtype, torch.device("cpu"))
    if not precisions.is_ours(model.model):  # Supertile's networks cast the input of each layer themselves
        inner = model._call_fn

        def call(network: nn.Module, image: Tensor) -> Tensor:
            own = next(network.parameters()).dtype  # read at each call: a copy may have been cast again
            return inner(network, image.to(own)).to(image.dtype)

        model._call_fn = call
    return model


def precision_of(model: ImageModelDescriptor) -> str:
    """Return the precision a loader has cast a model to; "auto" for fp32, so that the Upscaler may choose."""
    dtypes = {parameter.dtype for parameter in model.model.parameters()}
    return next((name for name in ("fp16", "bf16") if precisions.PRECISIONS[name] in dtypes), "auto")


def _schema(node_id: str, family: str | None, title: str, about: str, aliases: list[str], more: list[Any]) -> io.Schema:
    kind = f"{family} models" if family else "Upscale models of every known architecture"
    return io.Schema(
        node_id=node_id,
        display_name=title,
        category="model/loaders",
        description=about,
        search_aliases=["upscale model", "supertile", *aliases],
        inputs=[
            io.Combo.Input(
                "model_name",
                options=folders.model_files(family),
                tooltip=f"{kind} in models/upscale_models, recognized by the contents of the file, and the bundled "
                "VapSR models: supertile-photo for JPEGs, frames of videos and noise, supertile for clean images.",
            ),
            io.Combo.Input(
                "precision",
                options=PRECISIONS,
                default="auto",
                advanced=True,
                optional=True,
                tooltip="Numeric precision of the model; images stay fp32. auto: fp32 in other nodes; Supertile's "
                "nodes use half precision where a measurement shows no visible difference.",
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
        tooltip="Value that the model subtracts from the image. auto: the value stored in the file, otherwise that of "
        "the authors. Models trained with neosr need 0.5 but do not store it: choose it if the colors look wrong.",
    )


def _base_window() -> Any:
    return io.Combo.Input(
        "base_window",
        options=BASE_WINDOWS,
        default="auto",
        advanced=True,
        optional=True,
        tooltip="Base window in pixels, for models trained with an unusual one that is not stored in the file.",
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
        about = (
            "Load a HAT model (Hybrid Attention Transformer): the finest detail and the slowest of the three families."
        )
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
            "Load an upscale model of any known architecture. HAT, VapSR and HiT-SR use Supertile's own, faster "
            "networks; all others run as in Load Upscale Model."
        )
        title = "Load Upscale Model (Supertile)"
        return _schema("SupertileLoadUpscaleModel", None, title, about, ["esrgan", "upscaler"], [])
