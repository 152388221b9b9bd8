"""The size that a node's widgets ask for: in the words of `images.size`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..images.size import SizeError

MODEL_SCALE, FACTOR, MEGAPIXELS, LONGEST_SIDE, EXACT = "model scale", "factor", "megapixels", "longest side", "exact"


def size_words(chosen: Mapping[str, Any] | None, width: int, height: int) -> str | None:
    """What `parse_size` is to be told for an image of width x height pixels; None is the model's own scale.

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
