"""ComfyUI's entry point: the list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .attribution import LocalAttributionMap
from .compare import CompareImages
from .folder import UpscaleFolder
from .image import UpscaleImage
from .info import UpscaleModelInfo
from .loaders import LoadAnyModel, LoadHATModel, LoadHiTSRModel, LoadVapSRModel
from .seams import SeamCheckNode
from .video import UpscaleVideo, UpscaleVideoFile


class SupertileExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadHATModel,
            LoadVapSRModel,
            LoadHiTSRModel,
            LoadAnyModel,
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
