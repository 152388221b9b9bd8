"""The figures of compared images in words. Needs no ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.comparison_sheet import figures, sentence
from ..analysis.fidelity import Fidelity, mean
from ..inference.errors import UpscaleError


def paired(count_a: int, count_b: int) -> int:
    """How many comparisons two batches make: image by image, or all with the only one of the other."""
    if (count_a != count_b and 1 not in (count_a, count_b)) or 0 in (count_a, count_b):
        raise UpscaleError(f"{count_a} and {count_b} images cannot be paired; give as many of each, or one of either")
    return max(count_a, count_b)


def report(found: Sequence[Fidelity]) -> str:
    """A line for each image and, of several, one for the mean."""
    if len(found) == 1:
        return sentence(found[0])
    lines = [f"{number}: {sentence(each)}" for number, each in enumerate(found, 1)]
    return "\n".join([*lines, f"mean: {figures(mean(found))}"])
