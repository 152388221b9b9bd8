"""The size that a node's widgets ask for: in the words of `images.size`, and what it costs before any of it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..images.size import LARGEST_AREA, LARGEST_SIDE, SizeError

MODEL_SCALE, FACTOR, MEGAPIXELS, LONGEST_SIDE, EXACT = "model scale", "factor", "megapixels", "longest side", "exact"


def size_words(chosen: Mapping[str, Any] | None, width: int, height: int) -> str | None:
    """What `parse_size` is to be told for a picture of width x height pixels; None is the model's own scale.

    chosen: {"size": one of the names above, and the value or values that belong to it}; None, as ComfyUI has it, for
    any other name. Values that are linked come unchecked. Raises SizeError.
    """
    kinds = (MODEL_SCALE, FACTOR, MEGAPIXELS, LONGEST_SIDE, EXACT)
    if chosen is None or chosen["size"] not in kinds:
        raise SizeError(f"That size is not offered; choose {', '.join(kinds)}.")
    for name, value in chosen.items():
        if name != "size" and not value > 0:
            raise SizeError(f"The {name.replace('_', ' ')} is {value}; it must be more than zero.")
    kind = chosen["size"]
    if kind == MODEL_SCALE:
        return None
    if kind == FACTOR:
        return f"{chosen['factor']:.4f}x"
    if kind == MEGAPIXELS:
        return f"{chosen['megapixels']:.4f}mp"
    if kind == LONGEST_SIDE:
        side = chosen["longest_side"]
        return f"{side}x" if width >= height else f"x{side}"
    return f"{chosen['width']}x{chosen['height']}"


def runs_of_the_model(width: int, height: int, target: tuple[int, int], scale: int) -> Iterator[tuple[int, int]]:
    """(width, height) of what the model is given, once for each time it runs, as `upscale_picture` runs it.

    Raises SizeError where a result on the way would be larger than any picture may be: a target far from the
    picture's shape in one direction only needs that.
    """
    while True:
        yield width, height
        width, height = width * scale, height * scale
        if max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA:
            raise SizeError(
                f"{target[0]}x{target[1]} pixels need {width}x{height} on the way there, which is too many; "
                "choose a size nearer to the picture's own shape."
            )
        if scale == 1 or (width >= target[0] and height >= target[1]):
            return
