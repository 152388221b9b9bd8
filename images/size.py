"""The size a user asks for, in words ("2x", "1920x1080", "4k", "12mp"), as pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction

from ..errors import SupertileError


class SizeError(SupertileError, ValueError):
    """A size that means nothing, or too little or too much. The message is one sentence."""


LARGEST_SIDE = 100_000
LARGEST_AREA = 1_000_000_000  # 12 GB as float32 RGB

# The box an image is fitted into, landscape; a portrait gets the box turned.
_BOXES = {
    "720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160), "4320p": (7680, 4320),
    "hd": (1280, 720), "fhd": (1920, 1080), "2k": (2560, 1440), "qhd": (2560, 1440), "4k": (3840, 2160),
    "uhd": (3840, 2160), "5k": (5120, 2880), "8k": (7680, 4320),
}  # fmt: skip

_NUMBER = r"(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})"
_FORMS = f"a factor (2x, 1.5x), a size (1920x1080, 1920x, x1080), megapixels (12mp) or one of {', '.join(_BOXES)}"


def parse_size(text: str | None, width: int, height: int, scale: int) -> tuple[int, int]:
    """What a size in words means for an image of width x height pixels: (width, height) of the result.

    "2x", "1.5x": that many times larger. "1920x1080": exactly that, whatever the aspect ratio. "1920x", "x1080": that
    width or height, aspect ratio kept; a whole number up to 16 before the x is a factor. "4k", "1080p", ...: the
    largest size of the same aspect ratio inside 3840x2160, 1920x1080, ... or that box turned for a portrait. "12mp":
    as many million pixels, aspect ratio kept. None: `scale` times larger, the model's own size.

    Raises SizeError, one sentence, for anything else and for results under 1 or over 100 000 pixels a side or over
    1000 megapixels.
    """
    if text is None:
        return _checked(f"{scale}x", width * scale, height * scale)
    words = text.strip().lower().replace("×", "x").replace(" ", "")

    if words in _BOXES:
        long, short = _BOXES[words]
        box = (long, short) if width >= height else (short, long)
        ratio = min(Fraction(box[0], width), Fraction(box[1], height))
        return _checked(text, _round(width * ratio), _round(height * ratio))
    if match := re.fullmatch(r"(\d{0,9})x(\d{0,9})", words):
        wide, high = match.groups()
        if wide and high:
            return _checked(text, int(wide), int(high))
        if high:
            return _checked(text, _round(Fraction(width * int(high), height)), int(high))
        if wide and int(wide) > 16:  # "2x" is a factor, "1920x" a width: no model enlarges by more than 16
            return _checked(text, int(wide), _round(Fraction(height * int(wide), width)))
    if match := re.fullmatch(f"({_NUMBER})x", words):
        factor = Fraction(match[1])
        return _checked(text, _round(width * factor), _round(height * factor))
    if match := re.fullmatch(f"({_NUMBER})mp", words):
        factor = Fraction(math.sqrt(Fraction(match[1]) * 1_000_000 / (width * height)))
        return _checked(text, _round(width * factor), _round(height * factor))
    raise SizeError(f"Size {text!r} is not understood; give {_FORMS}.")


def factor_of(text: str | None) -> float | None:
    """How many times larger a size makes every image; None where that depends on the image or is left open."""
    if text is None:
        return None
    results = [parse_size(text, side, side, 4) for side in (1000, 3000)]
    return results[0][0] / 1000 if results[1][0] == 3 * results[0][0] else None


def check_size_words(text: str) -> None:
    """Raise parse_size's SizeError for words that mean nothing for any image, before one is read."""
    errors = []
    for shape in ((1024, 1024), (1, 1024), (1024, 1)):
        try:
            parse_size(text, *shape, 4)
            return
        except SizeError as error:
            errors.append(error)
    raise errors[0]


def runs_of_the_model(width: int, height: int, target: tuple[int, int], scale: int) -> Iterator[tuple[int, int]]:
    """(width, height) of what the model is given, once for each time it runs, for a result of `target` or more.

    Raises SizeError where a result on the way would be larger than any image may be: a target far from the
    image's shape in one direction only needs that.
    """
    while True:
        yield width, height
        width, height = width * scale, height * scale
        if max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA:
            raise SizeError(
                f"{target[0]}x{target[1]} pixels need {width}x{height} on the way there, which is too many; "
                "choose a size nearer to the image's own shape."
            )
        if scale == 1 or (width >= target[0] and height >= target[1]):
            return


def _round(value: Fraction) -> int:
    return max(1, math.floor(value + Fraction(1, 2))) if value > 0 else 0


def _checked(text: str, width: int, height: int) -> tuple[int, int]:
    if width < 1 or height < 1:
        raise SizeError(f"Size {text!r} gives no pixels at all; it must be more than zero.")
    if max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA:
        raise SizeError(
            f"Size {text!r} gives {width}x{height} pixels; at most {LARGEST_SIDE} a side "
            f"and {LARGEST_AREA // 1_000_000} megapixels are allowed."
        )
    return width, height
