"""The size of a result, as its user states it ("2x", "1920x1080", "4k", "12mp"), applied to each image in turn."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from ..errors import SupertileError


class SizeError(SupertileError, ValueError):
    """A size is not understood, is zero, or is too large. The message is one sentence."""


MAX_SIDE = 2**31 - 1
"""The most pixels along a side that any format can state: PNG's limit."""

# Landscape; a portrait is fitted into the same box turned by 90 degrees.
_BOXES = {
    "720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160), "4320p": (7680, 4320),
    "hd": (1280, 720), "fhd": (1920, 1080), "2k": (2560, 1440), "qhd": (2560, 1440), "4k": (3840, 2160),
    "uhd": (3840, 2160), "5k": (5120, 2880), "8k": (7680, 4320),
}  # fmt: skip

_LARGEST_FACTOR_WITHOUT_POINT = 16  # "2x" is a factor, "1920x" a width: no model enlarges by more
_NUMBER = r"(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})"
_FORMS = (
    "a factor (2x, 1.5x), a size (1920x1080, fit:1920x1080, 1920x, x1080), megapixels (12mp) or one of "
    + ", ".join(_BOXES)
)

# None of these fits every size: "x2000000000" is too large for a wide image, but not for a tall one.
_SHAPES_TRIED = ((1024, 1024), (1, 1024), (1024, 1))


@dataclass(frozen=True)
class Size:
    """A rule for the size of a result, which `of` applies to an image.

    Make one with `parse`, from text, or with `factor`, `exact`, `width`, `height`, `box`, `longest_side`, `megapixels`
    or `model_scale`. All of them raise SizeError for a size that no image can be enlarged to. `str()` returns the text
    it was parsed from. Sizes are equal if their rule is, however it was written.
    """

    _rule: Literal["model scale", "factor", "exact", "width", "height", "box", "fit", "megapixels"]
    _values: tuple[Fraction, ...] = ()
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
            text: "2x", "1.5x": that many times larger. "1920x1080": exactly that, whatever the aspect ratio. "1920x",
                "x1080": that width or height, aspect ratio kept; a whole number up to 16 before the x is a factor.
                "4k", "1080p", ...: the largest size of the same aspect ratio inside 3840x2160, 1920x1080, ..., or
                inside that box turned, for a portrait. "fit:1920x1080": the same for any box, which is never turned.
                "12mp": that many million pixels, aspect ratio kept.

        Raises:
            SizeError: any other text, and sizes that no image can be enlarged to.
        """
        words = text.strip().lower().replace("×", "x").replace(" ", "")
        if words in _BOXES:
            return cls("box", _fractions(*_BOXES[words]), text)
        if match := re.fullmatch(r"(\d{0,9})x(\d{0,9})", words):
            width, height = match.groups()
            if width and height:
                return cls("exact", _fractions(width, height), text)
            if height:
                return cls("height", _fractions(height), text)
            if width and int(width) > _LARGEST_FACTOR_WITHOUT_POINT:
                return cls("width", _fractions(width), text)
        if match := re.fullmatch(f"({_NUMBER})x", words):
            return cls("factor", _fractions(match[1]), text)
        if match := re.fullmatch(f"({_NUMBER})mp", words):
            return cls("megapixels", _fractions(match[1]), text)
        if match := re.fullmatch(r"fit:([1-9]\d{0,8})x([1-9]\d{0,8})", words):
            return cls("fit", _fractions(*match.groups()), text)
        if meant := _meant(words):
            raise SizeError(f"Size {text!r} is not understood; did you mean {meant}?")
        raise SizeError(f"Size {text!r} is not understood; give {_FORMS}.")

    @classmethod
    def coerce(cls, size: Size | str | None) -> Size:
        """Return `size` as a Size: text is parsed, and None is the model's own scale."""
        if size is None:
            return cls.model_scale()
        return cls.parse(size) if isinstance(size, str) else size

    @classmethod
    def model_scale(cls) -> Size:
        """Return the model's own scale: as many times larger as the model makes images."""
        return cls("model scale")

    @classmethod
    def factor(cls, factor: float | Fraction) -> Size:
        """Return the size that is `factor` times as wide and as high."""
        return cls("factor", _fractions(factor), f"{factor}x")

    @classmethod
    def exact(cls, width: int, height: int) -> Size:
        """Return the size of exactly `width` x `height` pixels; the aspect ratio may change."""
        return cls("exact", _fractions(width, height), f"{width}x{height}")

    @classmethod
    def width(cls, width: int) -> Size:
        """Return the size that is `width` pixels wide; the aspect ratio is kept."""
        return cls("width", _fractions(width), f"{width}x")

    @classmethod
    def height(cls, height: int) -> Size:
        """Return the size that is `height` pixels high; the aspect ratio is kept."""
        return cls("height", _fractions(height), f"x{height}")

    @classmethod
    def box(cls, longer: int, shorter: int) -> Size:
        """Return the largest size in `longer` x `shorter` pixels, turned for a portrait; the aspect ratio is kept."""
        return cls("box", _fractions(longer, shorter), f"within {longer}x{shorter}")

    @classmethod
    def fit(cls, width: int, height: int) -> Size:
        """Return the largest size in `width` x `height` pixels; the aspect ratio is kept."""
        return cls("fit", _fractions(width, height), f"fit:{width}x{height}")

    @classmethod
    def longest_side(cls, side: int) -> Size:
        """Return the size with `side` pixels along the longer side; the aspect ratio is kept."""
        return cls("box", _fractions(side, side), f"longest side {side}")

    @classmethod
    def megapixels(cls, millions: float | Fraction) -> Size:
        """Return the size of that many million pixels; the aspect ratio is kept."""
        return cls("megapixels", _fractions(millions), f"{millions}mp")

    @property
    def common_factor(self) -> float | None:
        """How many times larger every image becomes; None if that depends on the image or on the model."""
        return float(self._values[0]) if self._rule == "factor" else None

    @property
    def is_exact(self) -> bool:
        """True if both sides are given, whatever the image."""
        return self._rule == "exact"

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
        wide, high = map(_round, self._scaled(width, height, scale))
        shown = str(self) or f"{scale}x"
        if wide < 1 or high < 1:
            raise SizeError(f"Size {shown!r} leaves no pixels; it must be more than zero.")
        if max(wide, high) > MAX_SIDE:
            raise SizeError(f"Size {shown!r} means {wide}x{high} pixels; no format holds more than {MAX_SIDE} a side.")
        return wide, high

    def _scaled(self, width: int, height: int, scale: int) -> tuple[Fraction, Fraction]:
        if self._rule == "exact":
            return self._values[0], self._values[1]
        if self._rule == "model scale":
            factor = Fraction(scale)
        elif self._rule == "factor":
            factor = self._values[0]
        elif self._rule == "width":
            factor = self._values[0] / width
        elif self._rule == "height":
            factor = self._values[0] / height
        elif self._rule == "box":
            longer, shorter = self._values
            box = (longer, shorter) if width >= height else (shorter, longer)
            factor = min(box[0] / width, box[1] / height)
        elif self._rule == "fit":
            factor = min(self._values[0] / width, self._values[1] / height)
        else:
            factor = Fraction(math.sqrt(max(self._values[0], Fraction(0)) * 1_000_000 / (width * height)))
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


def _fractions(*values: float | str | Fraction) -> tuple[Fraction, ...]:
    """Return numbers as fractions; a float counts as the decimal number that it is printed as: 1.15, not 1.1499..."""
    try:
        return tuple(Fraction(str(value)) for value in values)
    except ValueError:
        raise SizeError(f"Size {'x'.join(map(str, values))!r} is not a number of pixels.") from None


def _meant(words: str) -> str | None:
    """Return the sizes that a text without a unit, a percentage or a misspelled name may mean, None for others."""
    if match := re.fullmatch(f"({_NUMBER})%", words):
        return f"{float(match[1]) / 100:g}x"
    if match := re.fullmatch(f"x({_NUMBER})x?", words):  # x1.5
        return f"{match[1]}x"
    if re.fullmatch(_NUMBER, words):
        if float(words) <= _LARGEST_FACTOR_WITHOUT_POINT:
            return f"{words}x"
        if f"{words}p" in _BOXES:
            box = _BOXES[f"{words}p"]
            return f"{words}p (to fit into {box[0]}x{box[1]}), {words}x (that width) or x{words} (that height)"
        return f"{words}x (that width) or x{words} (that height)" if words.isdecimal() else None
    if match := re.fullmatch(r"(\d{1,9})[*:/,;](\d{1,9})", words):
        return f"{match[1]}x{match[2]}"
    if match := re.fullmatch(r"(\d{1,9}(?:x\d{0,9})?)px", words):
        return match[1] if "x" in match[1] else f"{match[1]}x"
    near = difflib.get_close_matches(words, _BOXES, n=1, cutoff=0.7)
    return near[0] if near else None


def _round(value: Fraction) -> int:
    return max(1, math.floor(value + Fraction(1, 2))) if value > 0 else 0
