"""How far a result is from the truth: a mean over pixels and, on request, one over frequencies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..images.framing import LUMA

PIXEL_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda error: error.abs().mean(),
    "l2": lambda error: error.square().mean(),
    "rms": lambda error: (error.square().mean((1, 2, 3)) + 1e-6).sqrt().mean(),
}


def loss(
    result: Tensor, truth: Tensor, kind: str = "l1", frequency_weight: float = 0.0, color_weight: float = 1.0
) -> Tensor:
    """Return the loss of pixels, plus `frequency_weight` times the L1 of the orthonormal spectra.

    L1 learns faster, and its gradients are as long at the end as at the start. Where an image has lost details, L1 asks
    for the median of what may have been there, and L2 for the mean, which PSNR measures. But L2 listens to the hardest
    crops most. "rms", the root of a crop's mean square, asks for the mean too and gives all crops a say.

    The losses of pixels are content with a blurred texture; that of frequencies asks for each of its waves. Cho et al.,
    "Rethinking coarse-to-fine approach in single image deblurring", ICCV 2021, where the weight is 0.1.

    Args:
        result: (N, C, H, W).
        truth: of the same shape.
        kind: a name in `PIXEL_LOSSES`.
        frequency_weight: 0 for pixels alone.
        color_weight: of what an error adds to its luma. At 1, red, green and blue count alike. Less suits eyes, which
            see color coarsely, and JPEG, which keeps it at half the size.

    Returns:
        A scalar.
    """
    error = result - truth
    if color_weight != 1:
        luma = (error * error.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        error = torch.lerp(luma.expand_as(error), error, color_weight)
    total = PIXEL_LOSSES[kind](error)
    if frequency_weight:
        spectrum = torch.fft.rfft2(error.float(), norm="ortho")
        total = total + frequency_weight * torch.view_as_real(spectrum).abs().mean()
    return total
