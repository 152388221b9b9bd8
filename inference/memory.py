"""How large tiles and batches may be: what a network takes per pixel, and what there is.

The figures are upper bounds of what is alive at once in a forward pass, counted from the widths of its layers. They
choose a first tile and batch; where they are wrong, the core meets an out-of-memory error and halves.
"""

from __future__ import annotations

import math

import torch
from spandrel import ImageModelDescriptor

from ..arch import HAT, HiTSR, VapSR
from .tiling import Geometry

CPU_TILE = {HAT: 256, HiTSR: 384, VapSR: 512}
"""Largest tile on a CPU: what it holds stays near the cache while the overlap costs little. HAT wants 256 and more,
because its channel attention averages over the tile."""

OTHER_TILE = 512
CPU_BATCH_PIXELS = 128 * 128  # small pictures share a batch up to here; beyond, a CPU gains nothing by batches
GPU_TILE = 512
GPU_BATCH = 32


def geometry(descriptor: ImageModelDescriptor) -> Geometry:
    """Window grid and measured overlap of a network's family.

    VapSR: 32 pixels of context leave an error of 1.5e-5 (section "Tiles" of docs/architecture.md). HAT: whole windows,
    two of them at the published size. HiT-SR: its largest window, in pairs where n-grams need them; windows of 6 bases
    align on 192 only, which would cost more overlap than it is worth. Others: spandrel's requirement, 32 pixels.
    """
    model = descriptor.model
    if isinstance(model, VapSR):
        return Geometry(1, 1, 32)
    if isinstance(model, HAT):
        window = model.config.window_size
        return Geometry(window, window, _up(32, window))
    if isinstance(model, HiTSR):
        windows = [max(model.config.window(i)) for i in range(max(model.config.depths))]
        largest = max(windows)
        pair = 2 if model.config.variant == "SNG" else 1
        return Geometry(largest, largest * pair, _up(32, math.ceil(largest / 2)))
    multiple = max(descriptor.size_requirements.multiple_of, 1)
    return Geometry(multiple, multiple, _up(32, multiple))


def bytes_per_pixel(descriptor: ImageModelDescriptor, dtype: torch.dtype) -> int:
    """Bytes alive at once for each input pixel, at most."""
    model, scale = descriptor.model, descriptor.scale
    half = 1 if dtype == torch.float32 else 2
    if isinstance(model, HAT):
        # trunk, shortcut, residual and norm in fp32; qkv, its windows and the MLP in the precision; or the tail.
        body = model.config.embed_dim * (4 + 10 // half)
        tail = 4 * model.config.num_feat * (scale * scale) // half
        return 4 * max(body, tail + model.config.embed_dim * 2)
    if isinstance(model, HiTSR):
        body = model.config.embed_dim * 10 + model.config.mlp_dim * 3 // half
        wide = model.config.upsampler in ("pixelshuffle", "nearest+conv")
        tail = (4 * model.config.num_feat if wide else 2 * model.config.in_channels) * scale * scale
        return 4 * max(body, tail + model.config.embed_dim * 2)
    if isinstance(model, VapSR):
        return 4 * max(model.config.num_feat * 4 + model.config.attention_dim * 4 // half, 8 * 3 * scale * scale)
    return 3 * 4 * 384 * max(scale, 1)  # ComfyUI's estimate for networks it does not know


def auto_tile(descriptor: ImageModelDescriptor, device: torch.device, dtype: torch.dtype) -> int:
    """The side of the largest sensible tile."""
    kind = type(descriptor.model)
    if device.type == "cpu":
        return CPU_TILE.get(kind, OTHER_TILE)
    fits = math.isqrt(int(0.8 * free_bytes(device)) // bytes_per_pixel(descriptor, dtype))
    return max(64, min(GPU_TILE, fits // 64 * 64))


def auto_batch(
    descriptor: ImageModelDescriptor, device: torch.device, dtype: torch.dtype, tile: tuple[int, int]
) -> int:
    """How many tiles of this size go through the network at once."""
    pixels = tile[0] * tile[1]
    if device.type == "cpu":
        return max(1, min(8, CPU_BATCH_PIXELS // pixels))
    fits = int(0.8 * free_bytes(device)) // (pixels * bytes_per_pixel(descriptor, dtype))
    return max(1, min(GPU_BATCH, fits))


def free_bytes(device: torch.device) -> int:
    """Memory that can still be allocated on an accelerator, what PyTorch keeps in reserve included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 4 * 2**30  # no accelerator but CUDA tells; what any of them has


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
