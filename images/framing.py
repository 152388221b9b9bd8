"""Where an enlarged image lies in its result, which may crop it or add bars beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of ITU-R BT.601, by which Pillow converts color to gray."""


@dataclass(frozen=True)
class Framing:
    """The size of a result and of the whole enlarged image, which lies in its center.

    Attributes:
        size: (width, height) of the result in pixels.
        scaled: (width, height) to which the image is enlarged. What does not fit into the result is cropped; what it
            does not cover becomes bars.
        color: of the bars: red, green and blue in [0, 1]; None: black, and transparent beside an image with alpha.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    color: tuple[float, float, float] | None = None

    @classmethod
    def whole(cls, width: int, height: int) -> Framing:
        """Return the framing of an image that is the whole result."""
        return cls((width, height), (width, height))

    @property
    def is_whole(self) -> bool:
        """True if nothing is cropped and nothing added."""
        return self.size == self.scaled

    @property
    def offset(self) -> tuple[int, int]:
        """(left, top) of the enlarged image in the result; negative where it is cropped."""
        return (self.size[0] - self.scaled[0]) // 2, (self.size[1] - self.scaled[1]) // 2

    def turned(self) -> Framing:
        """Return the framing with width and height swapped."""
        return Framing(self.size[::-1], self.scaled[::-1], self.color)

    def place(self, color: Tensor, alpha: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the result for an image that has been enlarged to `scaled`.

        Args:
            color: (1 or 3, H, W) in [0, 1]; gray gets bars in the gray of their color.
            alpha: (1, H, W) in [0, 1], or None.

        Returns:
            Color and alpha of `size`; what was given if it `is_whole`.
        """
        if self.is_whole:
            return color, alpha
        bars = self.color or (0.0, 0.0, 0.0)
        if color.shape[0] == 1:
            bars = (sum(weight * value for weight, value in zip(LUMA, bars, strict=True)),) * 3
        placed = self._placed(color, bars[: color.shape[0]])
        return placed, None if alpha is None else self._placed(alpha, (0.0 if self.color is None else 1.0,))

    def _placed(self, planes: Tensor, values: tuple[float, ...]) -> Tensor:
        (width, height), (left, top) = self.size, self.offset
        result = planes.new_tensor(values)[:, None, None].repeat(1, height, width)
        seen = planes[:, max(0, -top) :, max(0, -left) :][:, : height - max(0, top), : width - max(0, left)]
        result[:, max(0, top) :, max(0, left) :][:, : seen.shape[1], : seen.shape[2]] = seen
        return result

    def __str__(self) -> str:
        text = "{}x{}".format(*self.size)
        if self.is_whole:
            return text
        color = "" if self.color is None else " on #" + "".join(f"{round(255 * value):02x}" for value in self.color)
        return f"{text}, the image {'{}x{}'.format(*self.scaled)}{color}"
