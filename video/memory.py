"""The memory that the frames of a video take, estimated before any work, without that of the network."""

from __future__ import annotations

import torch

from ..images.io.opening import free_memory
from ..images.size import runs_of_the_model

PIXELS_WITHOUT_CHECK = 1 << 23
"""Smaller frames, up to 3840x2160 pixels and a little more, are upscaled without looking at the memory."""

BYTES_PER_PIXEL = 200
"""Of a result: its float32 colors, frames between the stages, and 40 frames that an encoder looks ahead, measured."""

BYTES_PER_PIXEL_TO_FINISH = 70
"""More for kept colors, or less for strength: the result beside what becomes of it, and the work on one channel."""

BYTES_PER_PIXEL_BESIDE_A_GPU = 60
"""The encoder's part of them. All else is on the GPU."""


def frame_shortage(
    size: tuple[int, int],
    target: tuple[int, int],
    scale: int,
    device: torch.device,
    *,
    finished: bool = False,
    free: int | None = None,
) -> str | None:
    """Return a sentence if frames do not fit into the memory that is free, else None.

    Args:
        size: (width, height) of the source's frames.
        target: (width, height) of the results.
        scale: of the model.
        device: of the model.
        finished: True if the source is mixed in, or its colors are kept.
        free: bytes; None: as the system tells.

    Raises:
        SizeError: as `runs_of_the_model`.
    """
    *_, (width, height) = runs_of_the_model(*size, target, scale)
    network = width * scale, height * scale
    pixels = target[0] * target[1], network[0] * network[1]
    if max(pixels) <= PIXELS_WITHOUT_CHECK:
        return None
    free = free_memory() if free is None else free
    if free is None:
        return None
    if device.type == "cpu":
        needed = (BYTES_PER_PIXEL + finished * BYTES_PER_PIXEL_TO_FINISH) * max(pixels)
    else:
        needed = BYTES_PER_PIXEL_BESIDE_A_GPU * pixels[0]
    if needed <= free:
        return None
    via = "" if network == target else f" by way of {network[0]}x{network[1]}"
    return (
        f"Frames of {target[0]}x{target[1]} pixels{via} take about {needed / 2**30:.1f} GiB of memory, and "
        f"{free / 2**30:.1f} GiB are free; choose a smaller size."
    )
