"""What options may say, and those that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import typer


class Precision(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Compile(str, Enum):
    off = "off"
    auto = "auto"
    on = "on"


class Seamless(str, Enum):
    none = "none"
    x = "x"
    y = "y"
    both = "both"


class Format(str, Enum):
    png = "png"
    jpg = "jpg"
    jpeg = "jpeg"
    webp = "webp"
    tif = "tif"
    tiff = "tiff"


class Deinterlace(str, Enum):
    auto = "auto"
    yes = "yes"
    no = "no"


class Dtype(str, Enum):
    keep = "keep"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


def number_or(*words: str, at_least: int) -> Callable[[str], int | str]:
    """A parser for options such as "auto", "none" or a whole number."""

    def parse(text: str) -> int | str:
        if text in words:
            return text
        if not text.isdecimal() or int(text) < at_least:
            raise typer.BadParameter(f"{text!r} is not {', '.join(words)} or a whole number of {at_least} or more.")
        return int(text)

    return parse


def parse_mean(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(0 <= value <= 1 for value in values):
        raise typer.BadParameter(f"{text!r} is not R,G,B (or one number for gray), each from 0 to 1.")
    return values


def parse_patch(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"\d{1,9},\d{1,9},[1-9]\d{0,8}", text):
        raise typer.BadParameter(f"{text!r} is not X,Y,SIZE: the upper left corner and the side of a square.")
    x, y, size = map(int, text.split(","))
    return x, y, size


def parse_time(text: str) -> Any:
    """Seconds, or hours:minutes:seconds, as an exact number."""
    from fractions import Fraction

    seconds = Fraction(0)
    parts = text.split(":")
    for part in parts:
        if not re.fullmatch(r"\d{1,9}(\.\d{0,9})?", part) or len(parts) > 3:
            raise typer.BadParameter(f"{text!r} is no time; give seconds (90.5) or hours:minutes:seconds (0:01:30.5).")
        seconds = seconds * 60 + Fraction(part)
    return seconds


def parse_rate(text: str) -> Any:
    from fractions import Fraction

    if not re.fullmatch(r"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?", text) or not Fraction(text):
        raise typer.BadParameter(f"{text!r} is no frame rate; give a number such as 25, 23.976 or 24000/1001.")
    return Fraction(text)


def parse_size(text: str) -> Any:
    """Parse a size as `images.size.Size`."""
    from ..images.size import Size, SizeError

    try:
        return Size.parse(text)
    except SizeError as error:
        raise typer.BadParameter(str(error)) from None


def parse_tile(text: str) -> int | str:
    """`none` is another word for the whole image."""
    tile = number_or("auto", "whole", "none", at_least=1)(text)
    return "whole" if tile == "none" else tile


Tile = Annotated[
    Any,
    typer.Option(
        parser=parse_tile,
        metavar="auto|whole|N",
        help="Tile size; whole images, in strips, need memory that auto finds out about.",
    ),
]
Overlap = Annotated[Any, typer.Option(parser=number_or("auto", at_least=0), metavar="auto|N", help="Overlap of tiles.")]
Batch = Annotated[Any, typer.Option(parser=number_or("auto", at_least=1), metavar="auto|N", help="Tiles at a time.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Numbers the network computes in.")]
CompileOption = Annotated[
    Compile,
    typer.Option(
        "--compile",
        help="Compile the network for its tiles; auto: on CUDA, once they have taken a minute.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Average over eight flips and turns: eight times the time.")
]
Mean = Annotated[
    Any,
    typer.Option(
        parser=parse_mean,
        metavar="R,G,B",
        help="The mean color the model was trained with, where the file does not say.",
    ),
]
BaseWindow = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="HiT-SR's base window size, where the file does not say."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist (never sources).")]
Debug = Annotated[bool, typer.Option("--debug", envvar="SUPERTILE_DEBUG", help="Show tracebacks of errors.")]
