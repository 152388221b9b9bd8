"""The report of Compare Images, as text. Needs no ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.comparison_sheet import figures, sentence
from ..analysis.fidelity import Fidelity, mean
from ..inference.errors import UpscaleError


def paired(count_a: int, count_b: int) -> int:
    """Return how many comparisons two batches make: image by image, or all with the single image of the other.

    Raises:
        UpscaleError: the batches differ in length and neither has exactly one image.
    """
    if (count_a != count_b and 1 not in (count_a, count_b)) or 0 in (count_a, count_b):
        raise UpscaleError(
            f"Batches of {count_a} and {count_b} images cannot be paired; connect two of the same length, or one image."
        )
    return max(count_a, count_b)


def report(fidelities: Sequence[Fidelity]) -> str:
    """Return one line for each image, and for several images one more with the mean."""
    if len(fidelities) == 1:
        return sentence(fidelities[0])
    lines = [f"{number}: {sentence(each)}" for number, each in enumerate(fidelities, 1)]
    return "\n".join([*lines, f"mean: {figures(mean(fidelities))}"])
