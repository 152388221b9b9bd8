"""Refuse images that a node which failed has made. Needs no ComfyUI."""

from __future__ import annotations

from torch import Tensor

from ..inference.errors import UpscaleError


def check_finite(image: Tensor, which: str) -> None:
    """Raise UpscaleError for an image that holds NaN or infinity.

    Args:
        image: of any layout.
        which: the image as the subject of a sentence, as `numbered` returns it.
    """
    if not bool(image.isfinite().all()):
        found = "not numbers (NaN)" if bool(image.isnan().any()) else "infinite"
        raise UpscaleError(
            f"{which} holds values that are {found}; the node that made it has failed. A VAE in half precision often "
            "does: try it in fp32."
        )


def numbered(kind: str, number: int, count: int) -> str:
    """Return "The image" or "Image 2 of 3", for `kind` "image"."""
    return f"The {kind}" if count == 1 else f"{kind.capitalize()} {number} of {count}"
