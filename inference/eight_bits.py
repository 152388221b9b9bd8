"""Choose a faster precision for results that are stored with 8 bits, where it hardly shows.

What `precision="auto"` takes for any result (precision.py) agrees with fp32 to 65 dB, which bf16 reaches in no network.
Rounding to 8 bits alone leaves 59 dB. So networks of spandrel on a CPU that multiplies bf16 are compared with their own
fp32 in codes of 8 bits, and by time, on an image that is made to be difficult; measured once for each file of weights.
"""

from __future__ import annotations

import logging

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from . import precision as precisions
from .errors import is_out_of_memory
from .identity import weights_hash
from .layout import in_fast_layout
from .measured import Choices, kind_of, speedup
from .mixed import can_be_mixed, in_bf16

log = logging.getLogger(__name__)

SHARE_BEYOND_ONE_CODE, LARGEST_CODES = 0.005, 3
"""Of all samples so many may differ by more than one code of 255, and none by more codes. On Set14, the Compact network
of realesr-animevideov3 stays within 0.23 % and 3 codes (around black strokes on white, 4 % and 6 codes); RealESRGAN, in
which 1 to 13 % differ by up to 14, does not."""

LEAST_GAIN = 1.15
"""A precision is taken if it is so many times as fast as fp32."""

CHOICES = Choices("eight-bits.json")
"""dB between bf16 and fp32 where bf16 is taken, else 0; by kind and weights."""


def bf16_agreement(descriptor: ImageModelDescriptor, device: torch.device) -> float | None:
    """Return the dB to which a network in bf16 agrees with fp32 if bf16 is to be taken for results of 8 bits.

    Args:
        descriptor: the network in fp32. It is left alone.
        device: where it computes.
    """
    if device.type != "cpu" or not (precisions.may_take_bf16(descriptor) and can_be_mixed(descriptor)):
        return None
    kind = f"{kind_of(descriptor)} {weights_hash(descriptor.model)[:32]}"
    if (known := CHOICES.get(kind)) is None:
        is_sure = True
        try:
            known, is_sure = _measure(descriptor)
        except Exception as error:  # an architecture that mixes precisions raises whatever it meets
            if is_out_of_memory(error):
                raise
            log.debug("%s does not compute in bf16: %s", descriptor.architecture.name, precisions.short_reason(error))
            known = 0.0
        CHOICES.put(kind, known, for_all=is_sure)
    return known or None


def sentence(agreement: float) -> str:
    """Return what a user should know of results in bf16 that agree with fp32 to so many dB."""
    return (
        f"results of 8 bits were computed in bf16, which agrees with fp32 to {agreement:.0f} dB; rounding to 8 bits "
        "alone leaves 59. With the precision fp32 they are exact."
    )


def _measure(descriptor: ImageModelDescriptor) -> tuple[float, bool]:
    """Return the dB to which bf16 agrees with fp32, 0 if it shows or is hardly faster, and whether that is sure."""
    image = difficult_image(descriptor.input_channels)
    half, output, exact = in_bf16(descriptor, image)
    agreement = precisions.psnr(output, exact)
    if not hardly_shows(output, exact):
        log.debug("%s in bf16 differs too much: %.1f dB", descriptor.architecture.name, agreement)
        return 0.0, True
    measured = speedup(in_fast_layout(descriptor), in_fast_layout(half), image)
    log.debug("%s in bf16: %.1f dB, %.2f times as fast", descriptor.architecture.name, agreement, measured.gain)
    return (agreement if measured.gain >= LEAST_GAIN else 0.0), measured.decides(LEAST_GAIN)


def hardly_shows(output: Tensor, exact: Tensor) -> bool:
    """Return True if two results in [0, 1], rounded to 8 bits, differ by no more than this module's limits."""
    if not torch.isfinite(output).all() or not torch.isfinite(exact).all():
        return False
    codes, of_exact = (each.clamp(0, 1).mul(255).round() for each in (output, exact))
    difference = (codes - of_exact).abs()
    share = float((difference > 1).float().mean())
    return share <= SHARE_BEYOND_ONE_CODE and float(difference.max()) <= LARGEST_CODES


def difficult_image(channels: int) -> Tensor:
    """(1, channels, 40, 120) in [0, 1]: edges at many angles, strong and faint, and noise with nature's spectrum."""
    generator = torch.Generator().manual_seed(2)
    shapes = precisions.probe_image(channels)[0, :, 4:44, 4:44]
    frequencies = torch.hypot(torch.fft.fftfreq(40)[:, None], torch.fft.rfftfreq(40)[None]).clamp_min(1 / 40)
    spectrum = torch.fft.rfft2(torch.randn(channels, 40, 40, generator=generator)) / frequencies
    nature = torch.fft.irfft2(spectrum, s=(40, 40))
    nature = 0.5 + 0.22 * (nature - nature.mean()) / nature.std()
    return torch.cat([shapes, nature, 0.25 + 0.5 * shapes.flip(1)], 2)[None].clamp(0, 1)
