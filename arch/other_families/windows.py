"""Windows of networks that are not ours: shape, heads, scale and position bias."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from ...kernels.constants import Constants

LARGEST_SCALE = 100.0
"""What ATD and Swin2SR limit the scales to that they learn."""


class Windows(nn.Module):
    """A window, heads, a scale and a position bias, as `ops.attend_windows` takes them.

    Args:
        window: its rows and columns.
        num_heads: the number of heads.
        scale: of the products of queries and keys.
    """

    def __init__(self, window: tuple[int, int], num_heads: int, scale: float) -> None:
        super().__init__()
        self.window, self.num_heads, self.scale = window, num_heads, scale
        self.constants = Constants()

    def bias_sources(self) -> tuple[Tensor, ...]:
        """Return what the bias is made of."""
        raise NotImplementedError

    def by_pixels(self) -> Tensor:
        """Return the bias of a query and a key in a window of L pixels, (L, L, heads)."""
        raise NotImplementedError

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Return the bias, (1, heads, L, L); computed anew, because kernels keep it in a form of their own."""
        return self.by_pixels().permute(2, 0, 1)[None].to(dtype)


class TableWindows(Windows):
    """Windows with a table of biases.

    Args:
        table: (rows, heads).
        index: the table's row for a query and a key, (L, L).
    """

    index: Tensor

    def __init__(
        self, window: tuple[int, int], num_heads: int, scale: float, table: nn.Parameter, index: Tensor
    ) -> None:
        super().__init__(window, num_heads, scale)
        self.table = table
        self.register_buffer("index", index, persistent=False)

    def bias_sources(self) -> tuple[Tensor, ...]:
        return (self.table,)

    def by_pixels(self) -> Tensor:
        return self.table[self.index]


class UnbiasedWindows(Windows):
    """Windows without a bias. All of one shape share what is kept for a kernel."""

    def __init__(self, window: tuple[int, int], num_heads: int, scale: float) -> None:
        super().__init__(window, num_heads, scale)
        self.nothing, self.constants = _no_bias(window[0] * window[1], num_heads)

    def bias_sources(self) -> tuple[Tensor, ...]:
        return (self.nothing,)

    def by_pixels(self) -> Tensor:
        return self.nothing


@cache
def _no_bias(pixels: int, heads: int) -> tuple[Tensor, Constants]:
    with torch.inference_mode(False):
        return torch.zeros(()).expand(pixels, pixels, heads), Constants()
