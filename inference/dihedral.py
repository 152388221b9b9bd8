"""The eight flips and quarter turns of an image, for self-ensembles."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Dihedral:
    """One of the eight flips and quarter turns of an image (N, C, H, W): transpose, then flip along dimensions."""

    transpose: bool
    flips: tuple[int, ...]

    def apply(self, x: Tensor) -> Tensor:
        return (x.transpose(2, 3) if self.transpose else x).flip(self.flips)

    def invert(self, x: Tensor) -> Tensor:
        x = x.flip(self.flips)
        return x.transpose(2, 3) if self.transpose else x

    def source_slices(self, start: int, rows: int, height: int) -> tuple[slice, ...]:
        """Return where some rows of the transformed image, `height` high, lie in the original (C, H, W)."""
        if 2 in self.flips:
            start = height - start - rows
        along = slice(start, start + rows)
        return (slice(None), slice(None), along) if self.transpose else (slice(None), along)


DIHEDRAL_GROUP = tuple(Dihedral(transpose, flips) for transpose in (False, True) for flips in ((), (2,), (3,), (2, 3)))
IDENTITY = DIHEDRAL_GROUP[0]
