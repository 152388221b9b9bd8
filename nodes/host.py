"""ComfyUI's memory management, progress bar and interruption, as the library uses them."""

from __future__ import annotations

import copy
import time
import weakref
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch
from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..images.io.opening import free_memory
from ..inference import memory
from ..inference import precision as precisions
from ..inference.errors import UpscaleError
from ..weights.combined import scaled_parts

PREVIEW_SIDE = 512
PREVIEW_INTERVAL_S = 1.0  # each preview goes to the browser as a JPEG

# --- models and memory -------------------------------------------------------------------------------------------


def with_patcher(model: ImageModelDescriptor, device: torch.device | None = None) -> ImageModelDescriptor:
    """Attach a ModelPatcher to a loaded model, as ComfyUI's own loader does, so that every node accepts it.

    Args:
        model: as it was loaded.
        device: where every node computes it; None for ComfyUI's own.
    """
    model.patcher = _patcher(model, device)
    return model


def device_choices() -> list[str]:
    """Return the choices of ComfyUI's own nodes: "default", "cpu", and "gpu:0", "gpu:1" where there are several."""
    choices = getattr(mm, "get_gpu_device_options", None)  # not in older cores
    return choices() if choices else ["default", "cpu"]


def chosen_device(choice: str) -> torch.device | None:
    """Return the device of a choice; None for ComfyUI's own, also where this machine does not have the one chosen."""
    if choice in ("default", "cpu"):
        return torch.device("cpu") if choice == "cpu" else None
    resolve = getattr(mm, "resolve_gpu_device_option", None)
    return resolve(choice) if resolve else None


def device_of(model: ImageModelDescriptor) -> torch.device:
    """Return the device that ComfyUI computes a model on."""
    patcher = getattr(model, "patcher", None)
    return mm.get_torch_device() if patcher is None else patcher.load_device


def check_model(model: object) -> None:
    """Raise UpscaleError for an UPSCALE_MODEL of another node pack that is not a spandrel model."""
    if not isinstance(model, ImageModelDescriptor):
        raise UpscaleError(
            f"The upscale model is a {type(model).__name__}; connect the output of a node that loads upscale models."
        )


def own_copy(model: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a copy on the CPU with weights of its own, for a model that is combined of several.

    ComfyUI moves the weights of each UPSCALE_MODEL by itself, so two of them must not share any.
    """
    check_model(model)
    with torch.inference_mode(False):
        copied = copy.deepcopy(_bare(model), {id(model.architecture): model.architecture})
        copied.model.to("cpu")
    return copied


def to_device(model: ImageModelDescriptor, activations: int) -> tuple[ImageModelDescriptor, torch.device]:
    """Have ComfyUI load a model and free `activations` bytes beside it.

    The model stays loaded until ComfyUI needs the memory.

    Returns:
        The model for an Upscaler, without its patcher, and its device.
    """
    check_model(model)
    patcher: Any = getattr(model, "patcher", None) or _patcher(model)
    mm.load_models_gpu([patcher], memory_required=activations, force_full_load=True)
    return _bare(model), patcher.load_device


def activation_bytes(
    model: ImageModelDescriptor, width: int, height: int, tile: int | str | None, batch: int | str
) -> int:
    """Return the most memory that an Upscaler needs for an image, beside the weights.

    Args:
        model: that computes it.
        width, height: of the image, in pixels.
        tile, batch: as for Upscaler; with "auto" it can also work with less.

    Returns:
        Bytes.
    """
    parts = scaled_parts(model)
    if len(parts) > 1:  # one at a time, with an image on each side of it
        return max(activation_bytes(part, width * scale, height * scale, tile, batch) for part, scale in parts)
    longest = tile if isinstance(tile, int) else memory.GPU_TILE
    if tile in ("whole", None) and not precisions.is_ours(model.model):
        longest = max(width, height)
    tiles = batch if isinstance(batch, int) else 1
    needed = tiles * min(width, longest) * min(height, longest) * memory.bytes_per_pixel(model, torch.float32)
    if not isinstance(tile, int) and precisions.is_ours(model.model):
        device = device_of(model)
        whole = memory.whole_bytes(model.model, height, width, device, torch.float32)
        if tile != "auto" or whole <= mm.get_total_memory(device) // 2:
            needed = max(needed, whole)
    return 2 * 4 * model.input_channels * width * height + needed


def free_ram() -> int:
    """Return the bytes that are free on this machine, within the limit of a container."""
    free: int = mm.get_free_memory(torch.device("cpu"))  # known on Windows as well
    return min(free, limit) if (limit := free_memory()) is not None else free


def check_ram(needed: int, results: str, advice: str) -> None:
    """Raise UpscaleError for results larger than the memory that is free, before any is allocated.

    Args:
        needed: bytes.
        results: what needs them, as the subject of a sentence in the plural.
        advice: what the user can do.
    """
    free = free_ram()
    if needed > free:
        raise UpscaleError(
            f"{results} take {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; {advice}."
        )


def empty_images(count: int, height: int, width: int, channels: int) -> Tensor:
    """Return an uninitialized IMAGE on the device and of the dtype that ComfyUI keeps results in."""
    return torch.empty(count, height, width, channels, device=mm.intermediate_device(), dtype=mm.intermediate_dtype())


def give_back_memory() -> None:
    """Return the cached memory of a finished run to the device, for other nodes."""
    mm.soft_empty_cache()


def _patcher(model: ImageModelDescriptor, device: torch.device | None = None) -> Any:
    device = device or mm.get_torch_device()
    offload = device if device.type == "cpu" else mm.unet_offload_device()
    # Looked up late: ComfyUI replaces the class at start.
    return comfy.model_patcher.CoreModelPatcher(model.model, load_device=device, offload_device=offload)


_twins: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()


def _bare(model: ImageModelDescriptor) -> ImageModelDescriptor:
    """Return a model that shares the weights but has no patcher and no handles of dynamic VRAM.

    An Upscaler copies models. A copy of the patcher would unload the original when it is dropped; the handles cannot
    be copied at all.
    """
    network = model.model
    if network not in _twins:
        twin = _twins[network] = copy.copy(network)  # layers and parameters are the same objects
        for name in [name for name in vars(twin) if name.startswith("dynamic_")]:
            del twin.__dict__[name]
    bare = copy.copy(model)
    bare.__dict__.pop("patcher", None)
    bare._model = _twins[network]
    return bare


# --- progress and interruption -----------------------------------------------------------------------------------


def cancelled() -> bool:
    """Raise ComfyUI's own exception if the user has interrupted; for the argument `cancelled` of the library."""
    mm.throw_exception_if_processing_interrupted()
    return False


class ProgressBar:
    """The progress bar of a node, with a preview about once a second."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._previewed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)

    def preview(self, preview: Tensor) -> None:
        """Show a finished image (H, W, C), unless the last preview was less than PREVIEW_INTERVAL_S ago."""
        now = time.monotonic()
        if self._bar is None or now - self._previewed < PREVIEW_INTERVAL_S:
            return
        self._previewed = now
        image = Image.fromarray(thumbnail(preview).numpy())
        self._bar.update_absolute(self._bar.current, self._bar.total, ("JPEG", image, PREVIEW_SIDE))


class LiveText:
    """Text in the node that runs now, renewed about once a second, until the text of its result takes its place."""

    def __init__(self) -> None:
        self._sent = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._sent >= PREVIEW_INTERVAL_S and get_executing_context() is not None:
            self._sent = now
            show_in_running_node(ui.PreviewText(text).as_dict())


def show_in_running_node(output: dict[str, Any]) -> None:
    """Show something in the node that runs now as if it were its result, which takes its place."""
    context = get_executing_context()
    if context is None:
        return
    node = {"node": context.node_id, "display_node": context.node_id}
    message = {**node, "output": output, "prompt_id": context.prompt_id}
    PromptServer.instance.send_sync("executed", message, PromptServer.instance.client_id)


def thumbnail(preview: Tensor) -> Tensor:
    """Return an image (H, W, C) as (h, w, 3) uint8 on the CPU, at most 2 * PREVIEW_SIDE large."""
    step = max(1, -(-max(preview.shape[:2]) // (2 * PREVIEW_SIDE)))
    small = preview[::step, ::step, :3].float().clamp(0, 1).mul(255).add(0.5).to("cpu", torch.uint8)
    return small.expand(-1, -1, 3) if small.shape[2] == 1 else small.contiguous()
