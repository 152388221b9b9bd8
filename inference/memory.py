"""How large tiles and batches may be: what a network takes per pixel, and what there is.

The figures are upper bounds of what is alive at once in a forward pass, counted from the widths of its layers. They
choose a first tile and batch; where they are wrong, the core meets an out-of-memory error and halves.
"""

from __future__ import annotations

import math
import os

import torch
from spandrel import ImageModelDescriptor
from torch import nn

from ..arch.network import MIN_STRIP_ROWS, Network
from .tiling import Geometry

OTHER_TILE = 512
"""Largest tile on a CPU of networks of other programs; ours say their own."""

CPU_BATCH_PIXELS = 128 * 128
"""Pixels up to which small images share a batch; beyond, a CPU gains nothing by batches."""

GPU_TILE = 512
GPU_BATCH = 32

LEAST_ROWS = MIN_STRIP_ROWS

AT_ONCE_PIXELS = 4 * 384 * 384
"""Largest image that is computed at once on a CPU where strips wait for each other: some seconds without progress."""


def geometry(descriptor: ImageModelDescriptor) -> Geometry:
    """Return how a network's tiles lie: as it says itself; else as spandrel requires, with an overlap of 32 pixels."""
    model = descriptor.model
    if isinstance(model, Network):
        grid = model.grid()
        return Geometry(grid.step, grid.multiple, grid.overlap)
    multiple = max(descriptor.size_requirements.multiple_of, 1)
    return Geometry(multiple, multiple, _up(32, multiple))


def bytes_per_pixel(descriptor: ImageModelDescriptor, dtype: torch.dtype) -> int:
    """Return the bytes alive at once for each input pixel, at most."""
    if isinstance(descriptor.model, Network):
        return descriptor.model.bytes_per_pixel(dtype)
    return 3 * 4 * 384 * max(descriptor.scale, 1)  # ComfyUI's estimate for networks it does not know


def auto_tile(descriptor: ImageModelDescriptor, device: torch.device, dtype: torch.dtype) -> int:
    """Return the side of the largest sensible tile."""
    if device.type == "cpu":
        return descriptor.model.cpu_tile if isinstance(descriptor.model, Network) else OTHER_TILE
    fits = math.isqrt(int(0.8 * free_bytes(device)) // bytes_per_pixel(descriptor, dtype))
    return max(64, min(GPU_TILE, fits // 64 * 64))


def auto_batch(
    descriptor: ImageModelDescriptor, device: torch.device, dtype: torch.dtype, tile: tuple[int, int]
) -> int:
    """Return how many tiles of this size go through the network at once."""
    pixels = tile[0] * tile[1]
    if device.type == "cpu":
        return max(1, min(8, CPU_BATCH_PIXELS // pixels))
    fits = int(0.8 * free_bytes(device)) // (pixels * bytes_per_pixel(descriptor, dtype))
    return max(1, min(GPU_BATCH, fits))


def strip_rows(model: nn.Module, width: int, device: torch.device) -> int:
    """Return how many rows of an image of this width are computed at a time: as many pixels as the largest tile has."""
    assert isinstance(model, Network)
    pixels = (model.cpu_tile if device.type == "cpu" else GPU_TILE) ** 2
    return _up(max(pixels // width, model.min_rows(device)), model.row_multiple)


def whole_bytes(
    model: nn.Module,
    height: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype,
    rows: int | None = None,
) -> int:
    """Return the bytes of tensors alive at once for a whole image in strips, beside weights and result, to 15 %.

    Args:
        model: One of our networks.
        height: Height of the image.
        width: Width of the image.
        device: Where it is computed.
        dtype: The precision.
        rows: Rows of a strip; None takes those of `strip_rows`.
    """
    assert isinstance(model, Network)
    rows = min(rows or strip_rows(model, width, device), height)
    return model.strip_bytes(height, width, rows, device, dtype)


def fitting_rows(model: nn.Module, height: int, width: int, device: torch.device, dtype: torch.dtype) -> int:
    """Return `strip_rows`, halved until they fit into the memory that is free: flatter strips are only slower.

    Where strips wait for each other, an image of a few of them takes little more at once, all of `height`, and up to a
    fifth less time.
    """
    assert isinstance(model, Network)
    rows = strip_rows(model, width, device)
    if model.strips_wait and device.type == "cpu" and height * width <= AT_ONCE_PIXELS:
        at_once = whole_bytes(model, height, width, device, dtype, height)
        if at_once <= 1.5 * whole_bytes(model, height, width, device, dtype, rows) and fits(at_once, device):
            return height
    while rows > LEAST_ROWS and not fits(whole_bytes(model, height, width, device, dtype, rows), device):
        rows = max(rows // 2, LEAST_ROWS)
    return rows


def fits(planned: int, device: torch.device) -> bool:
    """Return True if there is memory for a whole image that is planned to take so many bytes."""
    return planned * holes(device) <= 0.8 * free_bytes(device)


SMALL = 256 << 20
"""Bytes of a plan of which nobody needs to care what holes make of it."""


def holes(device: torch.device) -> float:
    """How much more memory is resident than tensors are alive, at most: on a CPU freed memory is kept."""
    return 1.1 if device.type != "cpu" else 1.9


def planned(model: nn.Module | None, width: int = 1920, height: int = 1080) -> str | None:
    """Describe the memory that a whole image takes, in words; None for networks without strips."""
    if not isinstance(model, Network):
        return None
    needed = whole_bytes(model, height, width, torch.device("cpu"), torch.float32)
    return f"{needed / 2**30:.1f} GB of tensors for a whole {width}x{height} image in fp32"


def joins_there(needed: int, beside: int, device: torch.device) -> bool:
    """Return True if a result of `needed` bytes fits on the device beside the `beside` bytes that computing it takes.

    A quarter of what is left: its predecessor is still there while it is copied, and tiles want the rest.
    """
    return needed <= (free_bytes(device) - beside) // 4


def free_bytes(device: torch.device) -> int:
    """Memory that can still be allocated, what PyTorch keeps in reserve on an accelerator included."""
    if device.type == "cpu":
        return _free_ram()
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 4 * 2**30  # no accelerator but CUDA tells; what any of them has


def _free_ram() -> int:
    """Return the memory available without swapping; on other systems than Linux, half of all memory."""
    try:
        with open("/proc/meminfo") as file:
            available = next(line for line in file if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 4 * 2**30


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
