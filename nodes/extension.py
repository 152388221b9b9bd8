"""ComfyUI's entry point: the list of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import ComfyExtension, io

from .attribution import LocalAttributionMap
from .combine import BlendUpscaleModels, ChainUpscaleModels
from .compare import CompareImages
from .folder import UpscaleFolder
from .image import UpscaleImage
from .info import UpscaleModelInfo
from .loaders import LoadAnyModel, LoadHATModel, LoadHiTSRModel, LoadVapSRModel
from .seams import SeamCheckNode
from .video import UpscaleVideo, UpscaleVideoFile

if TYPE_CHECKING:
    # ComfyUI's registry and Manager look for names of nodes in the source text, and offer the pack to workflows that
    # lack one of them. Never executed: a module that defines this name would be loaded as a pack of old nodes.
    NODE_CLASS_MAPPINGS = {
        "SupertileLoadHATModel": LoadHATModel,
        "SupertileLoadVapSRModel": LoadVapSRModel,
        "SupertileLoadHiTSRModel": LoadHiTSRModel,
        "SupertileLoadUpscaleModel": LoadAnyModel,
        "SupertileChainUpscaleModels": ChainUpscaleModels,
        "SupertileBlendUpscaleModels": BlendUpscaleModels,
        "SupertileUpscaleImage": UpscaleImage,
        "SupertileUpscaleVideo": UpscaleVideo,
        "SupertileUpscaleVideoFile": UpscaleVideoFile,
        "SupertileUpscaleFolder": UpscaleFolder,
        "SupertileUpscaleModelInfo": UpscaleModelInfo,
        "SupertileCompareImages": CompareImages,
        "SupertileLocalAttributionMap": LocalAttributionMap,
        "SupertileSeamCheck": SeamCheckNode,
    }


class SupertileExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadHATModel,
            LoadVapSRModel,
            LoadHiTSRModel,
            LoadAnyModel,
            ChainUpscaleModels,
            BlendUpscaleModels,
            UpscaleImage,
            UpscaleVideo,
            UpscaleVideoFile,
            UpscaleFolder,
            UpscaleModelInfo,
            CompareImages,
            LocalAttributionMap,
            SeamCheckNode,
        ]


async def comfy_entrypoint() -> SupertileExtension:
    return SupertileExtension()
