"""Colors as photographs have them: lightness varies most, then orange against blue, least green against magenta.

The order and the rough sizes are those of the principal axes of natural colors: Ruderman, Cronin and Chiao,
"Statistics of cone responses to natural images", JOSA A 1998.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


class Palette:
    """A few colors that belong together, and any number of shades of them."""

    def __init__(self, rng: Generator) -> None:
        count = int(rng.integers(3, 12))
        saturation = np.exp(rng.normal(0, 0.6))
        cast = rng.normal(0, 0.04, 2)
        lightness = np.clip(rng.beta(0.9, 0.9, count), 0.03, 0.97)
        warm = (cast[0] + rng.normal(0, 0.11, count)) * saturation
        green = (cast[1] + rng.normal(0, 0.045, count)) * saturation
        self.colors = np.stack([lightness + warm, lightness + green, lightness - warm], 1)
        self.spread = rng.uniform(0.01, 0.1)
        weights = rng.dirichlet(np.ones(count))
        self.weights = np.cumsum(weights) / weights.sum()

    def float_color(self, rng: Generator) -> NDArray[np.float32]:
        """RGB in [0, 1]."""
        color = self.colors[min(int(np.searchsorted(self.weights, rng.random())), len(self.colors) - 1)]
        shade = rng.normal(0, self.spread) + rng.normal(0, 0.25 * self.spread, 3)
        return (color + shade).clip(0, 1).astype(np.float32)

    def color(self, rng: Generator) -> tuple[int, int, int]:
        """RGB in 0..255."""
        red, green, blue = (255 * self.float_color(rng)).round().astype(int).tolist()
        return red, green, blue


class PureColors(Palette):
    """A few colors as graphics have them: most channels at 0, a half or 1, without shades."""

    def __init__(self, rng: Generator) -> None:
        count = int(rng.integers(2, 9))
        pure = rng.choice([0.0, 0.5, 1.0], (count, 3))
        self.colors = np.where(rng.random((count, 3)) < 0.85, pure, rng.random((count, 3)))
        self.spread = 0.0
        self.weights = np.arange(1, count + 1) / count
