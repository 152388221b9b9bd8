"""The eight ways to flip and turn an image, for self-ensembles."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to flip and turn an image (N, C, H, W)."""

    transpose: bool
    flips: tuple[int, ...]

    def of(self, x: Tensor) -> Tensor:
        return (x.transpose(2, 3) if self.transpose else x).flip(self.flips)

    def back(self, x: Tensor) -> Tensor:
        x = x.flip(self.flips)
        return x.transpose(2, 3) if self.transpose else x

    def place(self, at: int, rows: int, height: int) -> tuple[slice, ...]:
        """Where in (C, H, W) some rows lie of the turned image, `height` high."""
        start = height - at - rows if 2 in self.flips else at
        rows_of_it = slice(start, start + rows)
        return (slice(None), slice(None), rows_of_it) if self.transpose else (slice(None), rows_of_it)


TURNS = tuple(Turn(transpose, flips) for transpose in (False, True) for flips in ((), (2,), (3,), (2, 3)))
