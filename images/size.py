"""The size of a result, as its user states it ("2x", "1920x1080", "fill:4k", "12mp"), applied to each image in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from .framing import Framing
from .size_text import SizeError, SizeRule, fractions, rule_of

__all__ = ["MAX_SIDE", "Size", "SizeError", "runs_of_the_model"]

MAX_SIDE = 2**31 - 1
"""The most pixels along a side that any format can state: PNG's limit."""

# None of these fits every size: "x2000000000" is too large for a wide image, but not for a tall one.
_SHAPES_TRIED = ((1024, 1024), (1, 1024), (1024, 1))


@dataclass(frozen=True)
class Size:
    """A rule for the size of a result, which `of` and `framing` apply to an image.

    Make one with `parse`, from text, or with `factor`, `fit`, `fill`, `pad`, `exact`, `width`, `height`, `box`,
    `longest_side`, `megapixels` or `model_scale`. All of them raise SizeError for a size that no image can be enlarged
    to. `str()` returns the text it was parsed from. Sizes are equal if their rule is, however it was written.
    """

    _rule: SizeRule
    _text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        errors = []
        for shape in _SHAPES_TRIED:
            try:
                self.of(*shape, scale=1)
                return
            except SizeError as error:
                errors.append(error)
        raise errors[0]

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size that a text states.

        Args:
            text: one of these.
                - "2x", "1.5x": that many times larger.
                - "1920x1080" or "fit:1920x1080": the largest size of the same aspect ratio inside this box.
                - "fill:1920x1080": exactly this size; the image covers it, and what is beyond its edges is cropped, as
                  much on both sides.
                - "pad:1920x1080": exactly this size; the image is fitted into it, between bars. They are transparent
                  beside an image with alpha, else black. "pad:1920x1080:white" or ":336699" gives them a color.
                - "stretch:1920x1080": exactly this size, whatever the aspect ratio.
                - "4k", "1080p", ...: 3840x2160, 1920x1080, ..., or that box turned for a portrait; "fill:4k" and so on
                  too. Boxes in numbers are never turned.
                - "1920x", "x1080": that width or height, aspect ratio kept; a whole number up to 16 before the x is a
                  factor.
                - "12mp": that many million pixels, aspect ratio kept.

        Raises:
            SizeError: any other text, and sizes that no image can be enlarged to.
        """
        return cls(rule_of(text), text)

    @classmethod
    def coerce(cls, size: Size | str | None) -> Size:
        """Return `size` as a Size: text is parsed, and None is the model's own scale."""
        if size is None:
            return cls.model_scale()
        return cls.parse(size) if isinstance(size, str) else size

    @classmethod
    def model_scale(cls) -> Size:
        """Return the model's own scale: as many times larger as the model makes images."""
        return cls(SizeRule("model scale"))

    @classmethod
    def factor(cls, factor: float | Fraction) -> Size:
        """Return the size that is `factor` times as wide and as high."""
        return cls(SizeRule("factor", fractions(factor)), f"{factor}x")

    @classmethod
    def exact(cls, width: int, height: int) -> Size:
        """Return the size of exactly `width` x `height` pixels; the image is stretched if its aspect ratio differs."""
        return cls(SizeRule("stretch", fractions(width, height)), f"stretch:{width}x{height}")

    @classmethod
    def width(cls, width: int) -> Size:
        """Return the size that is `width` pixels wide; the aspect ratio is kept."""
        return cls(SizeRule("width", fractions(width)), f"{width}x")

    @classmethod
    def height(cls, height: int) -> Size:
        """Return the size that is `height` pixels high; the aspect ratio is kept."""
        return cls(SizeRule("height", fractions(height)), f"x{height}")

    @classmethod
    def box(cls, longer: int, shorter: int) -> Size:
        """Return the largest size in `longer` x `shorter` pixels, turned for a portrait; the aspect ratio is kept."""
        return cls(SizeRule("fit", fractions(longer, shorter), turns=True), f"within {longer}x{shorter}")

    @classmethod
    def fit(cls, width: int, height: int) -> Size:
        """Return the largest size in `width` x `height` pixels; the aspect ratio is kept."""
        return cls(SizeRule("fit", fractions(width, height)), f"fit:{width}x{height}")

    @classmethod
    def fill(cls, width: int, height: int) -> Size:
        """Return the size of `width` x `height` pixels that an image covers; what lies beyond its edges is cropped."""
        return cls(SizeRule("fill", fractions(width, height)), f"fill:{width}x{height}")

    @classmethod
    def pad(cls, width: int, height: int, color: tuple[float, float, float] | None = None) -> Size:
        """Return the size of `width` x `height` pixels, with an image fitted into it between bars.

        color: of the bars: red, green and blue in [0, 1]; None: black, and transparent beside an image with alpha.
        """
        shown = "" if color is None else ":" + "".join(f"{round(255 * value):02x}" for value in color)
        return cls(SizeRule("pad", fractions(width, height), color=color), f"pad:{width}x{height}{shown}")

    @classmethod
    def longest_side(cls, side: int) -> Size:
        """Return the size with `side` pixels along the longer side; the aspect ratio is kept."""
        return cls(SizeRule("fit", fractions(side, side)), f"longest side {side}")

    @classmethod
    def megapixels(cls, millions: float | Fraction) -> Size:
        """Return the size of that many million pixels; the aspect ratio is kept."""
        return cls(SizeRule("megapixels", fractions(millions)), f"{millions}mp")

    @property
    def common_factor(self) -> float | None:
        """How many times larger every image becomes; None if that depends on the image or on the model."""
        return float(self._rule.values[0]) if self._rule.kind == "factor" else None

    @property
    def is_exact(self) -> bool:
        """True if the image is stretched to a size that is given."""
        return self._rule.kind == "stretch"

    def with_opaque_bars(self) -> Size:
        """Return the size with black bars beside images with alpha too, for formats without transparency."""
        if self._rule.kind != "pad" or self._rule.color is not None:
            return self
        return replace(self, _rule=replace(self._rule, color=(0.0, 0.0, 0.0)))

    def of(self, width: int, height: int, scale: int) -> tuple[int, int]:
        """Return (width, height) of the result for an image of `width` x `height` pixels.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.
            scale: how many times larger the model makes images; matters for `model_scale` only.

        Raises:
            SizeError: a result of no pixels, or of more than `MAX_SIDE` pixels a side. Formats hold less, and so may
                the memory; `images.upscale` checks both.
        """
        return self.framing(width, height, scale).size

    def framing(
        self, width: int, height: int, scale: int, *, pixel_ratio: Fraction = Fraction(1), even: bool = False
    ) -> Framing:
        """Return to which size an image is enlarged, and how it lies in its result.

        Args:
            width, height, scale: as `of` takes them.
            pixel_ratio: width of a pixel by its height. A result that is cropped or has bars gets square pixels, all
                others keep those of the image.
            even: make a result that is cropped or has bars even in width and height, by a pixel less.

        Raises:
            SizeError: as `of`; the size before cropping counts too.
        """
        rule = self._rule
        if rule.kind not in ("fill", "pad"):
            wide, high = map(_round, self._scaled(width, height, scale))
            return Framing.whole(*self._checked(wide, high, scale))
        shown = width * pixel_ratio
        box = rule.values[::-1] if rule.turns and height > shown else rule.values
        wide, high = (max(2, side // 2 * 2) if even and side >= 1 else _round(side) for side in box)
        self._checked(wide, high, scale)
        choose = max if rule.kind == "fill" else min
        factor = choose(wide / shown, Fraction(high, height))
        scaled = self._checked(_round(shown * factor), _round(height * factor), scale)
        return Framing((wide, high), scaled, rule.color)

    def _checked(self, wide: int, high: int, scale: int) -> tuple[int, int]:
        shown = str(self) or f"{scale}x"
        if wide < 1 or high < 1:
            raise SizeError(f"Size {shown!r} leaves no pixels; it must be more than zero.")
        if max(wide, high) > MAX_SIDE:
            raise SizeError(f"Size {shown!r} means {wide}x{high} pixels; no format holds more than {MAX_SIDE} a side.")
        return wide, high

    def _scaled(self, width: int, height: int, scale: int) -> tuple[Fraction, Fraction]:
        kind, values = self._rule.kind, self._rule.values
        if kind in ("fit", "stretch") and self._rule.turns and height > width:
            values = values[::-1]
        if kind == "stretch":
            return values[0], values[1]
        if kind == "model scale":
            factor = Fraction(scale)
        elif kind == "factor":
            factor = values[0]
        elif kind == "width":
            factor = values[0] / width
        elif kind == "height":
            factor = values[0] / height
        elif kind == "fit":
            factor = min(values[0] / width, values[1] / height)
        else:
            factor = Fraction(math.sqrt(max(values[0], Fraction(0)) * 1_000_000 / (width * height)))
        return width * factor, height * factor

    def __str__(self) -> str:
        return self._text


def runs_of_the_model(width: int, height: int, target: tuple[int, int], scale: int) -> Iterator[tuple[int, int]]:
    """Yield (width, height) of the model's input for each run, until its output is at least as large as `target`.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        target: (width, height) of the result.
        scale: how many times larger the model makes images; a model of scale 1 runs once.

    Raises:
        SizeError: an intermediate result would be larger than any image may be. That takes a target whose aspect
            ratio is far from the image's.
    """
    while True:
        yield width, height
        width, height = width * scale, height * scale
        if max(width, height) > MAX_SIDE:
            raise SizeError(
                f"{target[0]}x{target[1]} pixels need an intermediate image of {width}x{height}, which is too large; "
                "choose a size closer to the image's aspect ratio."
            )
        if scale == 1 or (width >= target[0] and height >= target[1]):
            return


def _round(value: Fraction) -> int:
    return max(1, math.floor(value + Fraction(1, 2))) if value > 0 else 0
