"""The memory that a result takes, estimated before any work. That of the network itself is planned by `inference`."""

from __future__ import annotations

PIXELS_WITHOUT_CHECK = 1 << 25
"""Smaller results are made without looking at the memory."""

_BYTES_TO_FINISH = 36
"""More for each pixel, not for each channel: they are finished one at a time."""


def result_bytes(
    channels: int,
    bit_depth: int,
    network_size: tuple[int, int],
    target: tuple[int, int],
    *,
    has_alpha: bool,
    finished: bool = False,
) -> int:
    """Return the bytes that upscaling and writing an image take at once, as measured, without those of the network.

    Args:
        channels: of the image, with alpha.
        bit_depth: of the image, 8 or 16.
        network_size: (width, height) of the network's last output.
        target: (width, height) of the result.
        has_alpha: True if one of the channels is alpha.
        finished: True if the source is mixed in, or its colors are kept.
    """
    per_channel = 16 if has_alpha or network_size != target else 12
    pixels = max(network_size[0] * network_size[1], target[0] * target[1])
    return pixels * (channels * (per_channel + bit_depth // 8 - 1) + finished * _BYTES_TO_FINISH)


def shortage(
    needed: int, free: int, network_size: tuple[int, int], target: tuple[int, int], *, count: int = 1
) -> str | None:
    """Return a sentence if `count` results of `needed` bytes together do not fit into `free` ones, else None."""
    if needed <= free:
        return None
    via = "" if network_size == target else f" by way of {network_size[0]}x{network_size[1]}"
    results, fewer = ("A result", "") if count == 1 else (f"{count} results", " or fewer images")
    return (
        f"{results} of {target[0]}x{target[1]} pixels{via} {'takes' if count == 1 else 'take'} "
        f"{needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; choose a smaller size{fewer}."
    )
