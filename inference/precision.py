"""Which dtype on which device, and what stays in fp32.

Half precision means: the weights of most convolutions and linear maps, and so their arithmetic, are half. The trunk
between the blocks, layer norms, position biases, the convolutions that read the trunk unnormalized and the last
convolution stay in fp32; without that a HAT overflows in fp16 and bands in bf16.

What fp32 means on CUDA is the program's affair: nothing that computes here reads or writes torch's flags for TF32,
which are global, while a plugin has a host. As PyTorch starts, convolutions of fp32 numbers use TF32, with 10 bits
behind the point, and matrix products do not; `torch.backends.cudnn.allow_tf32 = False` makes all of it exact, and
`torch.backends.cuda.matmul.allow_tf32 = True` all of it fast.
"""

from __future__ import annotations

import copy
import logging
import math
import re
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from ..arch.network import Network
from ..weights.tensor_info import PRECISIONS as PRECISIONS
from .errors import is_out_of_memory

log = logging.getLogger(__name__)

LEAST_AGREEMENT = 65.0
"""dB between half precision and fp32 on the probe for `auto` to take it. At 60 dB the error would cost 0.007 dB on a
image that a network restores to 32 dB, but 0.03 dB on one that it restores to 38 dB (x2 on Set5); at 65 dB, 0.009."""

LARGEST_DIFFERENCE = 0.01
"""The largest difference to fp32 on the probe, of samples in [0, 1], at which a half precision is computed on request.
Larger images may differ by twice as much."""


_ONE_IMAGE_AT_A_TIME = frozenset({"DRUNet", "DnCNN", "IPT", "SeemoRe"})
"""Architectures of spandrel that fail on, or mix, the images of a batch."""


_CHANGES_ITS_IMAGE = frozenset({"RCAN"})
"""Architectures of spandrel that write to the image they are given."""


_FP32_ONLY = {"HVI-CIDNet": "a rounding error turns single hues around"}
"""Architectures of spandrel that differ from fp32 in single pixels, which a small image may not show, and why."""


def is_ours(model: nn.Module) -> bool:
    return isinstance(model, Network)


def cast(descriptor: ImageModelDescriptor, dtype: torch.dtype, device: torch.device) -> ImageModelDescriptor:
    """A copy of the model on the device, its arithmetic in `dtype`; the caller's model stays as it is."""
    copied = copy.deepcopy(descriptor, {id(descriptor.architecture): descriptor.architecture})
    model = copied.model
    if not isinstance(model, Network):
        model.to(device=device, dtype=dtype)
        return copied
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not re.fullmatch(model.fp32_layers, name):
            module.to(dtype)
    model.to(device)
    return copied


def copy_of(descriptor: ImageModelDescriptor, shared: Iterable[Tensor] = ()) -> ImageModelDescriptor:
    """A copy of the model, which computes in the same way.

    Args:
        descriptor: the model.
        shared: parameters whose memory the copy shares.
    """
    memo: dict[int, Any] = {id(each): nn.Parameter(each.detach(), each.requires_grad) for each in shared}
    copied = copy.deepcopy(descriptor, {**memo, id(descriptor.architecture): descriptor.architecture})
    if is_autocast(descriptor):
        autocast_to_bf16(copied)
    return copied


def autocast_to_bf16(descriptor: ImageModelDescriptor) -> None:
    """Let `run` compute this model of spandrel with convolutions and linear maps in bf16, on a CPU."""
    _autocast.add(descriptor.model)


def is_autocast(descriptor: ImageModelDescriptor) -> bool:
    """Return True after `autocast_to_bf16`."""
    return descriptor.model in _autocast


_autocast: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def may_take_bf16(descriptor: ImageModelDescriptor) -> bool:
    """Return True if bf16 may be faster on this CPU for a network of spandrel, and computes."""
    name = descriptor.architecture.name
    return not is_ours(descriptor.model) and descriptor.supports_bfloat16 and name not in _FP32_ONLY and _cpu_has_bf16()


def candidates(descriptor: ImageModelDescriptor, device: torch.device) -> list[torch.dtype]:
    """Half precisions that are faster than fp32 on this device, the most exact first."""
    if descriptor.architecture.name in _FP32_ONLY:
        return []
    if device.type == "cuda":
        half = [torch.float16] if is_ours(descriptor.model) or descriptor.supports_half else []
        bfloat = descriptor.supports_bfloat16 and torch.cuda.is_bf16_supported(including_emulation=False)
        return half + ([torch.bfloat16] if bfloat else [])
    if device.type == "cpu" and is_ours(descriptor.model) and _cpu_has_bf16():
        return [torch.bfloat16]
    return []


def _cpu_has_bf16() -> bool:
    """Return True if the processor multiplies bf16 natively; emulated, it would be slower than fp32."""
    checks = (getattr(torch.cpu, "_is_avx512_bf16_supported", None), getattr(torch.cpu, "_is_amx_tile_supported", None))
    return any(check() for check in checks if check is not None)


_chosen: weakref.WeakKeyDictionary[nn.Module, dict[str, torch.dtype]] = weakref.WeakKeyDictionary()


def choose(descriptor: ImageModelDescriptor, device: torch.device) -> torch.dtype:
    """The fastest precision that agrees with fp32 to `LEAST_AGREEMENT` on a small image, measured once per model.

    Weights differ more than architectures do, so it is measured on the very weights that will be used.
    """
    known = _chosen.setdefault(descriptor.model, {})
    key = str(device)
    if key not in known:
        known[key] = torch.float32
        options = candidates(descriptor, device)
        if options:
            probe = probe_image(descriptor.input_channels).to(device)
            exact = run(cast(descriptor, torch.float32, device), probe)
            for dtype in options:
                output = _in_half(descriptor, dtype, device, probe)
                if isinstance(output, Exception):
                    log.debug("The network does not compute in %s: %s", dtype, output)
                    continue
                agreement = psnr(output, exact)
                log.debug("%s agrees with fp32 to %.1f dB", dtype, agreement)
                if agreement >= LEAST_AGREEMENT:
                    known[key] = dtype
                    break
    return known[key]


def usable(descriptor: ImageModelDescriptor, dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return `dtype` if the model computes in it, else fp32 with a warning that names the architecture.

    Our networks compute in any precision; those of spandrel are tried on a small image, once per model.
    """
    if dtype == torch.float32 or is_ours(descriptor.model):
        return dtype
    known = _chosen.setdefault(descriptor.model, {})
    key = f"{device} {dtype}"
    if key not in known:
        known[key] = dtype
        if (reason := _reason_against(descriptor, dtype, device)) is not None:
            known[key] = torch.float32
            warn_of_fp32(descriptor, dtype, reason)
    return known[key]


def _reason_against(descriptor: ImageModelDescriptor, dtype: torch.dtype, device: torch.device) -> str | None:
    if (known := _FP32_ONLY.get(descriptor.architecture.name)) is not None:
        return known
    for probe in (probe_image(descriptor.input_channels), _noise_image(descriptor.input_channels)):
        output = _in_half(descriptor, dtype, device, probe.to(device))
        if isinstance(output, Exception):
            return short_reason(output)
        if not torch.isfinite(output).all():
            continue  # such images are computed again in fp32
        exact = run(cast(descriptor, torch.float32, device), probe.to(device))
        difference = float((output.clamp(0, 1) - exact.clamp(0, 1)).abs().max())
        if difference > LARGEST_DIFFERENCE:
            return f"it differs by up to {difference:.3f} from fp32"
    return None


def _in_half(
    descriptor: ImageModelDescriptor, dtype: torch.dtype, device: torch.device, probe: Tensor
) -> Tensor | Exception:
    """Return the output of the model in `dtype`, or the exception that its code raises."""
    try:
        return run(cast(descriptor, dtype, device), probe)
    except Exception as error:  # an architecture that mixes precisions raises whatever it meets
        if is_out_of_memory(error):
            raise
        return error


def warn_of_fp32(descriptor: ImageModelDescriptor, dtype: torch.dtype, reason: str) -> None:
    """Say that a network computes in fp32 instead of the half precision that was chosen."""
    name = next(name for name, each in PRECISIONS.items() if each == dtype)
    log.warning("%s networks do not compute in %s (%s), so fp32 is used.", descriptor.architecture.name, name, reason)


def short_reason(error: BaseException) -> str:
    """Return the first line of an exception of a network's code, at most 120 characters of it."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:120].rstrip(".")


def all_finite(tensor: Tensor) -> bool:
    """Return True if a tensor holds neither NaN nor infinity. Waits for the device."""
    # The sum, which is fast, is not finite if an element is not; it may overflow if all are.
    return math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())


@torch.inference_mode()
def run(descriptor: ImageModelDescriptor, batch: Tensor) -> Tensor:
    """The network's output for (N, C, H, W) fp32, as fp32. Ours take any size and dtype; spandrel pads and casts."""
    if is_ours(descriptor.model):
        return descriptor.model(batch)
    # spandrel clamps outputs, by which infinity would become black or white
    hook = descriptor.model.register_forward_hook(_infinity_as_nan)
    is_single = descriptor.architecture.name in _ONE_IMAGE_AT_A_TIME
    try:
        mixed = is_autocast(descriptor)
        if descriptor.architecture.name in _CHANGES_ITS_IMAGE:
            batch = batch.clone()
        images = (batch if mixed else batch.to(descriptor.dtype)).split(1 if is_single else len(batch))
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return torch.cat([descriptor(image) for image in images]).float()
    finally:
        hook.remove()


def _infinity_as_nan(_: nn.Module, __: object, output: object) -> Tensor | None:
    return output + 0 * output if isinstance(output, Tensor) else None


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two images with a peak of 1; -inf where one is not finite."""
    error = (a.double().clamp(0, 1) - b.double().clamp(0, 1)).square().mean()
    if not torch.isfinite(a).all() or not torch.isfinite(error):
        return float("-inf")
    return float("inf") if error == 0 else float(-10 * torch.log10(error))


def agree(output: Tensor, other: Tensor) -> bool | None:
    """Return True if two results (N, C, H, W) agree to 40 dB in every image.

    None where `other` is not finite. Waits for the device.
    """
    if not torch.isfinite(other).all():
        return None
    errors = (output.clamp(0, 1) - other.clamp(0, 1)).square_().flatten(1).mean(1)
    return bool((errors <= 1e-4).all())  # false of what is no number


def _noise_image(channels: int) -> Tensor:
    """(1, channels, 48, 48) in [0, 1]: noise in every channel, which reaches colors that `probe_image` has not."""
    return torch.rand(1, channels, 48, 48, generator=torch.Generator().manual_seed(1))


def probe_image(channels: int) -> Tensor:
    """(1, channels, 48, 48) in [0, 1]: a gradient, edges at many angles, fine texture and flat areas."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    angle, radius = torch.atan2(y, x), torch.hypot(x, y)
    star = 0.5 + 0.5 * torch.sign(torch.sin(7 * angle)) * (radius < 0.8)
    rings = 0.5 + 0.5 * torch.cos(40 * radius**2)
    noise = torch.rand(48, 48, generator=torch.Generator().manual_seed(0))
    planes = torch.stack([0.5 + 0.4 * x, star, rings, 0.6 * star + 0.2 * (1 + y) * noise])
    mixed = torch.stack(
        [planes.roll(i, 0).mul(torch.tensor([0.5, 0.3, 0.1, 0.1])[:, None, None]).sum(0) for i in range(4)]
    )
    return mixed[torch.arange(channels) % 4][None].clamp(0, 1)
