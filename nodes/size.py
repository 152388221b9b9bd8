"""The size that a node's widgets state, as a `Size`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..images.size import Size, SizeError

MODEL_SCALE, FACTOR, MEGAPIXELS, LONGEST_SIDE, EXACT = "model scale", "factor", "megapixels", "longest side", "exact"


def chosen_size(chosen: Mapping[str, Any] | None) -> Size:
    """Return the size that the widgets state.

    Args:
        chosen: {"size": one of the names above, and the value or values that belong to it}; ComfyUI passes None for
            any other name. Values that are linked come unchecked.

    Raises:
        SizeError: another name, or a value that is zero, negative or too large.
    """
    kinds = (MODEL_SCALE, FACTOR, MEGAPIXELS, LONGEST_SIDE, EXACT)
    if chosen is None or chosen["size"] not in kinds:
        raise SizeError(f"That size is not offered; choose {', '.join(kinds)}.")
    for name, value in chosen.items():
        if name != "size" and not value > 0:
            raise SizeError(f"The {name.replace('_', ' ')} is {value}; it must be more than zero.")
    kind = chosen["size"]
    if kind == FACTOR:
        return Size.factor(chosen["factor"])
    if kind == MEGAPIXELS:
        return Size.megapixels(chosen["megapixels"])
    if kind == LONGEST_SIDE:
        return Size.longest_side(chosen["longest_side"])
    if kind == EXACT:
        return Size.exact(chosen["width"], chosen["height"])
    return Size.model_scale()
