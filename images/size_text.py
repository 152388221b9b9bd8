"""Read the text of a size, "2x", "1920x1080", "fill:4k", and suggest what other text may mean."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from PIL import ImageColor

from ..errors import SupertileError


class SizeError(SupertileError, ValueError):
    """A size is not understood, is zero, or is too large. The message is one sentence."""


@dataclass(frozen=True)
class SizeRule:
    """The rule that decides the size of a result.

    Attributes:
        kind: "fit", "fill", "pad" and "stretch" are about a box, the others about one number.
        values: width and height of the box, or the number.
        turns: True for a box that is turned by 90 degrees for a portrait.
        color: of what "pad" adds: red, green and blue in [0, 1].
    """

    kind: Literal["model scale", "factor", "width", "height", "megapixels", "fit", "fill", "pad", "stretch"]
    values: tuple[Fraction, ...] = ()
    turns: bool = False
    color: tuple[float, float, float] | None = None


# Landscape; a portrait is fitted into the same box turned by 90 degrees.
_BOXES = {
    "720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160), "4320p": (7680, 4320),
    "hd": (1280, 720), "fhd": (1920, 1080), "2k": (2560, 1440), "qhd": (2560, 1440), "4k": (3840, 2160),
    "uhd": (3840, 2160), "5k": (5120, 2880), "8k": (7680, 4320),
}  # fmt: skip

_MODES: dict[str, Literal["fit", "fill", "pad", "stretch"]] = {
    "fit": "fit", "fill": "fill", "pad": "pad", "stretch": "stretch",
}  # fmt: skip
_OTHER_WORDS = {
    "crop": "fill", "cover": "fill", "contain": "fit", "inside": "fit", "within": "fit", "box": "fit", "max": "fit",
    "letterbox": "pad", "bars": "pad", "exact": "stretch", "exactly": "stretch", "scale": "stretch",
}  # fmt: skip

_LARGEST_FACTOR_WITHOUT_POINT = 16  # "2x" is a factor, "1920x" a width: no model enlarges by more
_NUMBER = r"(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})"
_FORMS = (
    "a factor (2x, 1.5x), a box (1920x1080; or fill:, pad: or stretch:1920x1080), a side (1920x, x1080), megapixels "
    f"(12mp) or one of {', '.join(_BOXES)}"
)


def rule_of(text: str) -> SizeRule:
    """Return the rule that a text states, as `Size.parse` describes it. Raises SizeError."""
    words = text.strip().lower().replace("×", "x").replace(" ", "")
    if (rule := _box(words)) is not None:
        return rule
    if match := re.fullmatch(r"x(\d{1,9})", words):
        return SizeRule("height", fractions(match[1]))
    if (match := re.fullmatch(r"(\d{1,9})x", words)) and int(match[1]) > _LARGEST_FACTOR_WITHOUT_POINT:
        return SizeRule("width", fractions(match[1]))
    if match := re.fullmatch(f"({_NUMBER})x", words):
        return SizeRule("factor", fractions(match[1]))
    if match := re.fullmatch(f"({_NUMBER})mp", words):
        return SizeRule("megapixels", fractions(match[1]))
    if meant := _meant(words):
        raise SizeError(f"Size {text!r} is not understood; did you mean {meant}?")
    raise SizeError(f"Size {text!r} is not understood; give {_FORMS}.")


def _box(words: str) -> SizeRule | None:
    """Return the rule of "WxH" or a name, with a mode before it and, for "pad", a color after it."""
    mode, colon, rest = words.rpartition(":") if words.count(":") == 1 else words.partition(":")
    if not colon:
        mode, rest = "fit", words
    box, colon, color = rest.partition(":")
    if mode not in _MODES or (colon and mode != "pad"):
        return None
    rgb = None if not colon else color_of(color)
    if box in _BOXES:
        return SizeRule(_MODES[mode], fractions(*_BOXES[box]), turns=True, color=rgb)
    if match := re.fullmatch(r"(\d{1,9})x(\d{1,9})", box):
        return SizeRule(_MODES[mode], fractions(*match.groups()), color=rgb)
    return None


def color_of(text: str) -> tuple[float, float, float]:
    """Return red, green and blue in [0, 1] of a color: white, navy, #336699 or 336699. Raises SizeError."""
    for spelled in (text, f"#{text}"):
        try:
            rgb = ImageColor.getrgb(spelled)
        except ValueError:
            continue
        if len(rgb) == 3:
            return (rgb[0] / 255, rgb[1] / 255, rgb[2] / 255)
    raise SizeError(f"The color {text!r} is not understood; give a name such as white, or six digits such as 336699.")


def fractions(*values: float | str | Fraction) -> tuple[Fraction, ...]:
    """Return numbers as fractions; a float counts as the decimal number that it is printed as: 1.15, not 1.1499..."""
    try:
        return tuple(Fraction(str(value)) for value in values)
    except ValueError:
        raise SizeError(f"Size {'x'.join(map(str, values))!r} is not a number of pixels.") from None


def _meant(words: str) -> str | None:
    """Return the sizes that a text without a unit, a percentage or a misspelled name may mean, None for others."""
    mode, colon, box = words.partition(":")
    if colon and (near := _OTHER_WORDS.get(mode) or next(iter(difflib.get_close_matches(mode, _MODES, n=1)), None)):
        return f"{near}:{box}" if _box(f"{near}:{box}") else None
    if match := re.fullmatch(f"({_NUMBER})%", words):
        return f"{float(match[1]) / 100:g}x"
    if match := re.fullmatch(f"x({_NUMBER})x?", words):  # x1.5
        return f"{match[1]}x"
    if re.fullmatch(_NUMBER, words):
        if float(words) <= _LARGEST_FACTOR_WITHOUT_POINT:
            return f"{words}x"
        if f"{words}p" in _BOXES:
            width, height = _BOXES[f"{words}p"]
            return f"{words}p (to fit into {width}x{height}), {words}x (that width) or x{words} (that height)"
        return f"{words}x (that width) or x{words} (that height)" if words.isdecimal() else None
    if match := re.fullmatch(r"(\d{1,9})[*:/,;](\d{1,9})", words):
        return f"{match[1]}x{match[2]}"
    if match := re.fullmatch(r"(\d{1,9}(?:x\d{0,9})?)px", words):
        return match[1] if "x" in match[1] else f"{match[1]}x"
    return next(iter(difflib.get_close_matches(words, _BOXES, n=1, cutoff=0.7)), None)
