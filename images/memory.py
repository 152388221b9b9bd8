"""The memory that a result takes, estimated before any work. That of the network itself is planned by `inference`."""

from __future__ import annotations

from .io.opening import free_memory
from .io.picture import Picture

_PIXELS_WITHOUT_CHECK = 1 << 25


def result_bytes(picture: Picture, network_size: tuple[int, int], target: tuple[int, int]) -> int:
    """Return the bytes that upscaling and writing an image take at once, as measured, without those of the network.

    Args:
        picture: the source.
        network_size: (width, height) of the network's last output.
        target: (width, height) of the result.
    """
    channels = picture.color.shape[0] + (picture.alpha is not None)
    per_channel = 16 if picture.alpha is not None or network_size != target else 10
    pixels = max(network_size[0] * network_size[1], target[0] * target[1])
    return pixels * channels * (per_channel + picture.bit_depth // 8 - 1)


def shortage(picture: Picture, network_size: tuple[int, int], target: tuple[int, int]) -> str | None:
    """Return a sentence if a result does not fit into the memory that is free, else None. Arguments as above."""
    if max(network_size[0] * network_size[1], target[0] * target[1]) <= _PIXELS_WITHOUT_CHECK:
        return None
    needed, free = result_bytes(picture, network_size, target), free_memory()
    if free is None or needed <= free:
        return None
    via = "" if network_size == target else f" by way of {network_size[0]}x{network_size[1]}"
    return (
        f"A result of {target[0]}x{target[1]} pixels{via} takes {needed / 2**30:.1f} GiB of memory, and "
        f"{free / 2**30:.1f} GiB are free; choose a smaller size."
    )
