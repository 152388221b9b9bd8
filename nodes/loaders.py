"""The nodes that load a model file: one for each family of Supertile, and one for any architecture."""

from __future__ import annotations

import re
from typing import Any

import torch
from comfy_api.latest import io
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..inference import precision as precisions
from ..weights.errors import CheckpointError
from ..weights.loader import load_model
from ..weights.naming import note_source, source_of
from . import folders, host
from .widgets import PRECISIONS

MEANS = {"auto": None, "0.5 (neosr)": (0.5,), "0 (none)": (0.0,)}
BASE_WINDOWS = ["auto", "4", "6", "8", "12", "16", "24"]  # no known network has a larger one

NONE_FOUND = "no {} model in models/upscale_models"
"""The only choice of a list that would be empty; to choose it says where models come from."""
PLACES = {
    "HAT": "github.com/XPixelGroup/HAT and openmodeldb.info",
    "VapSR": "github.com/zhoumumu/VapSR",
    "HiT-SR": "github.com/XiangZ-0/HiT-SR",
    None: "openmodeldb.info",
}
"""Where the models of a family are; those of the general loader under None."""


def load(
    name: str, precision: str = "auto", mean: str = "auto", base_window: str = "auto", device: str = "default"
) -> ImageModelDescriptor:
    """Load a file of the list as an UPSCALE_MODEL.

    Args:
        name: file name as in the node's list.
        precision: precision that the model computes in; images stay fp32.
        mean: one of MEANS: what the network subtracts from an image.
        base_window: one of BASE_WINDOWS; for HiT-SR only.
        device: as `host.device_choices` names it.

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
        except CheckpointError as error:
            raise type(error)(name, error.problem) from error
        metadata = source_of(model)["metadata"]
        if precision not in ("auto", "fp32"):
            model = in_half(model, precisions.PRECISIONS[precision])
    note_source(model, name, metadata)
    chosen = host.chosen_device(device)
    if chosen is None and device != "default":
        folders.log.warning("This machine has no %s; %s is loaded for the default device.", device, name)
    return host.with_patcher(model, chosen)


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
    bundled = (
        ""
        if family not in (None, "VapSR")
        else ", and the bundled VapSR models: supertile-photo for JPEGs, frames of videos and noise, supertile for "
        "clean images"
    )
    return io.Schema(
        node_id=node_id,
        display_name=title,
        category="model/loaders",
        description=about,
        search_aliases=["upscale model", "supertile", *aliases],
        inputs=[
            io.Combo.Input(
                "model_name",
                options=folders.model_files(family) or [NONE_FOUND.format(family)],
                tooltip=f"{kind} in models/upscale_models, recognized by the contents of the file{bundled}. "
                f"More models: {PLACES[family]}.",
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
            io.Combo.Input(
                "device",
                options=host.device_choices(),
                default="default",
                advanced=True,
                optional=True,
                tooltip="Where this model is computed, in every node. default: ComfyUI's device.",
            ),
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
    FAMILY: str | None = None

    @classmethod
    def validate_inputs(cls, model_name: str | None = None, device: str | None = None) -> bool | str:
        """Check `model_name` and `device`, instead of ComfyUI.

        Earlier versions offered the bundled models in every list. A workflow may name a card of another machine.
        """
        if device is not None and device not in host.device_choices() and not re.fullmatch(r"gpu:\d+", device):
            offered = ", ".join(host.device_choices())
            return f"Value not in list: device: {folders.quoted(device)} is not offered; choose {offered}."
        if model_name is None or folders.is_bundled(model_name) or model_name in folders.model_files(cls.FAMILY):
            return True
        kind = f"{cls.FAMILY} model" if cls.FAMILY else "model"
        more = f"More models: {PLACES[cls.FAMILY]}."
        if model_name == NONE_FOUND.format(cls.FAMILY):
            return f"Choose a {kind}: put one into models/upscale_models and press R. {more}"
        if model_name in folders.model_files():
            return f"Value not in list: {model_name} is not a {kind}; Load Upscale Model (Supertile) opens it."
        return f"Value not in list: there is no {kind} {folders.quoted(model_name)} in models/upscale_models. {more}"

    @classmethod
    def fingerprint_inputs(cls, model_name: str, **options: object) -> object:
        return folders.file_state(model_name)

    @classmethod
    def execute(cls, model_name: str, **options: str) -> io.NodeOutput:
        return io.NodeOutput(load(model_name, **options))


class LoadHATModel(_Loader):
    FAMILY = "HAT"

    @classmethod
    def define_schema(cls) -> io.Schema:
        about = (
            "Load a HAT model (Hybrid Attention Transformer): the finest detail and the slowest of the three families."
        )
        return _schema(
            "SupertileLoadHATModel", cls.FAMILY, "Load HAT Model", about, ["hat", "hat-l", "hat-s"], [_mean()]
        )


class LoadVapSRModel(_Loader):
    FAMILY = "VapSR"

    @classmethod
    def define_schema(cls) -> io.Schema:
        about = "Load a VapSR model (vast-receptive-field pixel attention): small and fast."
        return _schema("SupertileLoadVapSRModel", cls.FAMILY, "Load VapSR Model", about, ["vapsr", "vapsr-s"], [])


class LoadHiTSRModel(_Loader):
    FAMILY = "HiT-SR"

    @classmethod
    def define_schema(cls) -> io.Schema:
        about = "Load a HiT-SR model (hierarchical transformer: HiT-SIR, HiT-SNG, HiT-SRF)."
        aliases = ["hit-sr", "hitsr", "hit-sir", "hit-sng", "hit-srf"]
        return _schema(
            "SupertileLoadHiTSRModel", cls.FAMILY, "Load HiT-SR Model", about, aliases, [_mean(), _base_window()]
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
