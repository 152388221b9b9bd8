"""Windows of maps of features: cut out, put back, and where those of a shifted grid lie."""

from __future__ import annotations

from collections.abc import Iterator

from einops import rearrange
from torch import Tensor


def round_up(size: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


def windows_of(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut (B, nh wh, nw ww, C) into windows (B nh nw, wh ww, C), in one copy."""
    return rearrange(x, "b (nh wh) (nw ww) c -> (b nh nw) (wh ww) c", wh=window[0], ww=window[1])


def grid_of_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """View (B, nh wh, nw ww, C) as (B, nh, wh, nw, ww, C); writing to the view writes to `x`."""
    return x.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))


def grid_from_windows(windows: Tensor, grid: Tensor) -> Tensor:
    """View windows (B nh nw, wh ww, C) in the shape of a `grid_of_windows`, (B, nh, wh, nw, ww, C)."""
    _, nh, wh, nw, ww, _ = grid.shape
    return rearrange(windows, "(b nh nw) (wh ww) c -> b nh wh nw ww c", nh=nh, nw=nw, wh=wh, ww=ww)


def window_spans(start: int, stop: int, size: int, window: int, shift: int) -> Iterator[tuple[int, int, slice]]:
    """Yield the runs of equal windows along an axis of `size`, from `start` to `stop`, which lie on the shifted grid.

    A shifted grid is not rolled: its windows are cut at the border, which gives what the masks of the original do.

    Yields:
        Where a run starts and stops, and what its windows show of a whole one: all but at the ends.
    """
    if shift == 0:
        yield start, stop, slice(0, window)
        return
    if start == 0:
        yield 0, shift, slice(window - shift, window)
    inner = max(start, shift), min(stop, size - window + shift)
    if inner[0] < inner[1]:
        yield *inner, slice(0, window)
    if stop == size:
        yield size - window + shift, size, slice(0, window - shift)
