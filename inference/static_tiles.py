"""Remember the tiles of the previous image, so that those that have not changed need not be computed again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from .tiling import TilePlan

T = TypeVar("T")


@dataclass(eq=False)
class Remembered(Generic[T]):
    """A tile of the previous image: its input, its output once computed, and equal tiles that wait for the output.

    Both tensors are copies: a view would keep a whole image or batch alive until the last of its tiles changes.
    """

    input: Tensor
    output: Tensor | None = None
    followers: list[T] = field(default_factory=list)


class StaticTiles(Generic[T]):
    """The tiles of the previous image of a stream, by their place in the plan."""

    def __init__(self) -> None:
        self._plan: TilePlan | None = None
        self._tiles: dict[tuple[int, int], Remembered[T]] = {}

    def clear(self) -> None:
        self._plan, self._tiles = None, {}

    def find_unchanged(
        self, padded: Tensor, plan: TilePlan, *, asynchronous: bool
    ) -> dict[tuple[int, int], Remembered[T]]:
        """Return the remembered tiles that equal those of an image (C, H, W), and forget tiles of other plans.

        On an asynchronous device it compares all tiles before it waits, once.
        """
        if plan != self._plan:
            self._plan, self._tiles = plan, {}
        pairs = {at: (known.input, plan.cut(padded, *at)) for at, known in self._tiles.items()}
        if not pairs:
            return {}
        if asynchronous:
            equal = torch.stack([(before == now).all() for before, now in pairs.values()]).tolist()
        else:
            equal = [torch.equal(before, now) for before, now in pairs.values()]
        return {at: self._tiles[at] for at, same in zip(pairs, equal, strict=True) if same}

    def remember(self, at: tuple[int, int], tile: Tensor) -> Remembered[T]:
        """Remember a tile that is about to be computed, in place of the previous one there."""
        self._tiles[at] = Remembered(tile.clone())
        return self._tiles[at]
