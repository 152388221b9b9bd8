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

from ..arch import HAT, HiTSR, VapSR
from ..arch.network import Network
from ..arch.vapsr import HALO
from .tiling import Geometry

CPU_TILE = {HAT: 256, HiTSR: 384, VapSR: 512}
"""Largest tile on a CPU: what it holds stays near the cache while the overlap costs little. HAT wants 256 and more,
because its channel attention averages over the tile."""

OTHER_TILE = 512
CPU_BATCH_PIXELS = 128 * 128  # small images share a batch up to here; beyond, a CPU gains nothing by batches
GPU_TILE = 512
GPU_BATCH = 32

LEAST_ROWS = 16  # of a strip
AT_ONCE_PIXELS = 4 * 384 * 384  # of HiT-SR on a CPU: some seconds without a word of progress


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


def strip_rows(model: nn.Module, width: int, device: torch.device) -> int:
    """How many rows of an image of this width are computed at a time: as many pixels as the largest tile has.

    VapSR on a CPU never takes less than 64, since every strip reads what its blocks keep of the one before: 24 rows.
    """
    pixels = (CPU_TILE[type(model)] if device.type == "cpu" else GPU_TILE) ** 2
    multiple = model.config.window_size if isinstance(model, HAT) else LEAST_ROWS
    least = 4 * multiple if isinstance(model, VapSR) and device.type == "cpu" else multiple
    return _up(max(pixels // width, least), multiple)


def whole_bytes(
    model: nn.Module,
    height: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype,
    rows: int | None = None,
) -> int:
    """What a whole image takes in strips beside the weights and the result: tensors alive at once, to 15 %.

    Counted from the widths of the layers; what cannot be counted (how long strips wait for each other in HiT-SR, whose
    windows are of many sizes) is measured. rows: of a strip; None is what `strip_rows` says.
    """
    rows = min(rows or strip_rows(model, width, device), height)
    size = 4 if dtype == torch.float32 else 2
    if isinstance(model, HAT):
        gathered = rows // model.config.window_size if device.type != "cpu" else 1
        return _hat_bytes(model, height, width, rows, size, gathered if model.gathers_windows(device) else 0)
    if isinstance(model, VapSR):
        c = model.config
        kept = model.bytes_kept(width, device, dtype)
        if kept is not None:
            return _vapsr_bytes(model, height, width, rows, kept)
        blocks = c.num_blocks * (35 * c.attention_dim * size + 15 * c.num_feat * 4)
        strip = rows * 7 * (c.num_feat + c.attention_dim) + 8192
        return width * min(blocks + strip, height * 23 * c.attention_dim)
    assert isinstance(model, HiTSR)
    return _hitsr_bytes(model, height, width, rows, model.bytes_kept(width, device, dtype))


def fitting_rows(model: nn.Module, height: int, width: int, device: torch.device, dtype: torch.dtype) -> int:
    """`strip_rows`, halved as often as it takes to fit into the memory that is free: flatter strips are only slower.

    HiT-SR's strips wait for each other's windows, so that an image of a few of them takes little more at once (all of
    `height`), and up to a fifth less time.
    """
    rows = strip_rows(model, width, device)
    if isinstance(model, HiTSR) and device.type == "cpu" and height * width <= AT_ONCE_PIXELS:
        at_once = whole_bytes(model, height, width, device, dtype, height)
        if at_once <= 1.5 * whole_bytes(model, height, width, device, dtype, rows) and fits(at_once, device):
            return height
    while rows > LEAST_ROWS and not fits(whole_bytes(model, height, width, device, dtype, rows), device):
        rows = max(rows // 2, LEAST_ROWS)
    return rows


def fits(planned: int, device: torch.device) -> bool:
    """Whether there is memory for a whole image that is planned to take so many bytes."""
    return planned * holes(device) <= 0.8 * free_bytes(device)


SMALL = 256 << 20
"""Bytes of a plan of which nobody needs to care what holes make of it."""


def holes(device: torch.device) -> float:
    """How much more memory is resident than tensors are alive, at most: on a CPU freed memory is kept."""
    return 1.1 if device.type != "cpu" else 1.9


def _hitsr_bytes(model: HiTSR, height: int, width: int, rows: int, kept: int | None) -> int:
    """kept: by the kernels of a block; None without kernels."""
    c = model.config
    windows = sum(c.window(block)[0] for depth in c.depths for block in range(depth))
    # Rows of features that are alive: at most those of an image at once, at most what the windows make wait; and of
    # windows that wait for those below, fewer where both are near.
    if kept is None:
        (waiting, sharpness), at_once, strip = (11.0, 2.5) if c.variant == "SNG" else (7.3, 12.0), 13.5, 7
    else:
        (waiting, sharpness), at_once, strip = (9.6, 3.5) if c.variant == "SNG" else (3.95, 12.0), 5.9, 5
    if rows >= height and kept is not None:
        alive, under_way = (5.6 if c.variant == "SNG" else 5.3) * height, 1
    else:
        alive = ((waiting * windows) ** -sharpness + (at_once * height) ** -sharpness) ** (-1 / sharpness)
        alive += strip * min(rows, 16)
        # Of a lower image, the first blocks are done before the last begin.
        under_way = math.ceil(sum(c.depths) * min(height / windows, 1))
    return int(4 * c.embed_dim * width * alive) + under_way * (kept or 0)


def _vapsr_bytes(model: VapSR, height: int, width: int, rows: int, kept: int) -> int:
    """With the kernel for its blocks, each of which has `kept`; and features that wait for the last of them."""
    c = model.config
    delay = HALO * c.num_blocks  # rows that the last block is behind the first
    under_way = min(c.num_blocks, (height - rows) // HALO + 1)
    body = under_way * kept + width * 4 * c.num_feat * (min(delay + rows, height) + 2 * rows)
    head = width * min(delay + rows, height) * 4 * (c.num_feat + 2 * 64 if c.scale == 4 else 2 * 56)
    return max(body, head)


def _hat_bytes(model: HAT, height: int, width: int, rows: int, size: int, windows: int) -> int:
    c = model.config
    dim, window, around = c.embed_dim, c.window_size, c.overlap_window
    height, width = _up(height, window), _up(width, window)
    block = height * (8 * dim + c.compress_dim * size) + rows * (16 * dim + 2 * c.mlp_dim * size + dim * size)
    gathered = 2 * around**2 * 2 * dim * size // window * windows
    overlap = height * 8 * dim + rows * (8 * dim + 5 * dim * size) + (around - window) * 3 * dim * size + gathered
    tail = height * 4 * dim + rows * 2.3 * c.scale**2 * c.num_feat * size
    return int(width * max(block, overlap, tail))


def planned(model: nn.Module | None, width: int = 1920, height: int = 1080) -> str | None:
    """What an image of this size takes, for people; None for networks that do without strips."""
    if not isinstance(model, Network):
        return None
    needed = whole_bytes(model, height, width, torch.device("cpu"), torch.float32)
    return f"{needed / 2**30:.1f} GB of tensors for {width}x{height} as a whole, in fp32"


def joins_there(needed: int, beside: int, device: torch.device) -> bool:
    """Whether a result of `needed` bytes may lie on the device while it is computed, which takes `beside` for it.

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
    """What Linux would give without swapping; elsewhere half of what there is."""
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
