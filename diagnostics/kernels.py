"""Compare every C kernel with PyTorch on small tensors, in the widths of the published networks.

`restricted_to` leaves a kernel alone, so that a layer that uses several names the one that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..arch.hat import OCAB, WindowAttention
from ..arch.hat import Mlp as HATMlp
from ..arch.hat_config import HATConfig
from ..arch.hitsr import Correlation, DualFeatureExtraction
from ..arch.hitsr import Mlp as HiTSRMlp
from ..arch.hitsr_config import HiTSRConfig
from ..arch.strips import StripPlan, Strips, gather, split_rows, strip_bounds
from ..arch.vapsr import VAB
from ..inference.barriers import sleep_at_barriers
from ..kernels.cpu import attention, bands, build, convolution, correlation, fourier, layer_norm, ngrams
from ..kernels.ops import conv2d
from ..kernels.ops import layer_norm as apply_norm
from .isolated import EndedError, TooSlowError, isolated

SIGNATURES: dict[str, build.Signatures] = {
    "attention": attention.SIGNATURES,
    "convolution": convolution.SIGNATURES,
    "correlation": correlation.SIGNATURES,
    "dual_features": bands.SIGNATURES,
    "fourier": fourier.SIGNATURES,
    "layer_norm": layer_norm.SIGNATURES,
    "mlp": bands.SIGNATURES,
    "ngrams": ngrams.SIGNATURES,
    "vab": bands.SIGNATURES,
}
"""The kernels that upscaling uses; those of training are tested with it."""

LIMITS = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
"""Largest difference between kernel and PyTorch, relative to the largest value."""

LIMIT_S = 90.0
_HEIGHT, _WIDTH, _STRIP = 96, 128, 32


@dataclass(frozen=True)
class Comparison:
    """A kernel beside PyTorch on one operation.

    Attributes:
        operation: what was computed.
        precision: of the weights, "fp32" or "bf16".
        difference: the largest, relative to the largest value; None where the result is not finite.
        limit: how large it may be.
    """

    operation: str
    precision: str
    difference: float | None
    limit: float

    @property
    def is_right(self) -> bool:
        return self.difference is not None and self.difference <= self.limit


@dataclass(frozen=True)
class Kernel:
    """A kernel, and how far it can be trusted.

    Attributes:
        name: of its C source.
        state: "verified", "wrong", "absent", "failed" (it ended its process) or "not examined" (there was no time).
        reason: why it is absent, failed or was not examined.
        seconds: that it took to compile and load it.
        comparisons: with PyTorch.
    """

    name: str
    state: str
    reason: str = ""
    seconds: float | None = None
    comparisons: list[Comparison] = field(default_factory=list)


def kernels(limit_s: float = LIMIT_S) -> Iterator[Kernel]:
    """Yield every kernel, examined in processes of their own.

    Args:
        limit_s: seconds for all kernels in one process.
    """
    left = list(SIGNATURES)
    while left:
        try:
            for kernel in isolated(examine, left, limit_s=limit_s):
                left.remove(kernel.name)
                yield kernel
        except TooSlowError as error:
            yield from (Kernel(name, "not examined", str(error)) for name in left)
            return
        except EndedError as error:
            if left:
                yield Kernel(left.pop(0), "failed", str(error))


def examine(names: list[str]) -> Iterator[Kernel]:
    """Compile, load and compare these kernels, in order."""
    torch.set_grad_enabled(False)
    sleep_at_barriers(True)  # beside busy programs, spinning would make seconds of this minutes
    with ThreadPoolExecutor() as pool:
        loading = {name: pool.submit(_load, name) for name in names}
    for name in names:
        seconds = loading[name].result()
        if build.load(name, SIGNATURES[name]) is None:
            yield Kernel(name, "absent", build.why_not(name))
            continue
        comparisons = [_compare(name, dtype, *case) for dtype in LIMITS for case in CASES[name](dtype)]
        state = "verified" if all(each.is_right for each in comparisons) else "wrong"
        yield Kernel(name, state, "", seconds, comparisons)


def _load(name: str) -> float:
    start = time.perf_counter()
    build.load(name, SIGNATURES[name])
    return round(time.perf_counter() - start, 3)


def _compare(name: str, dtype: torch.dtype, operation: str, compute: Callable[[], Tensor]) -> Comparison:
    with build.restricted_to({name}):
        by_kernel = compute().double()
    with build.restricted_to(()):
        expected = compute().double()
    difference = float((by_kernel - expected).abs().max() / expected.abs().max())
    is_finite = bool(by_kernel.isfinite().all())
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
    return Comparison(operation, precision, difference if is_finite else None, LIMITS[dtype])


# --- operations ----------------------------------------------------------------------------------------------------

Module = TypeVar("Module", bound=nn.Module)
Cases = Iterator[tuple[str, Callable[[], Tensor]]]

HAT_S = HATConfig(embed_dim=144, compress_dim=6, squeeze_dim=6, mlp_dim=288, oca_mlp_dim=288)
HIT_SRF, HIT_SNG = HiTSRConfig(variant="SRF"), HiTSRConfig(variant="SNG")


def _attention(dtype: torch.dtype) -> Cases:
    for config, name in ((HAT_S, "24"), (HATConfig(), "30")):
        x = _features(config.embed_dim, 48, 64)
        for shift in (0, config.shift):
            layer = _randomized(WindowAttention(config, 6, shift), dtype)
            label = f"{'shifted ' if shift else ''}windows, {name} channels a head"
            yield label, partial(layer, x.to(dtype), 0, 48)
        overlapping = _randomized(OCAB(config, 6), dtype)
        yield f"overlapping windows, {name} channels a head", partial(_gathered, overlapping, x, StripPlan(16))


def _convolution(dtype: torch.dtype) -> Cases:
    if dtype == torch.float32:  # bf16 is PyTorch's
        # as in Compact, ESRGAN and HAT, and a last one
        for inputs, outputs in ((64, 64), (192, 64), (180, 60), (48, 12)):
            layer = _randomized(nn.Conv2d(inputs, outputs, 3, padding=1))
            yield f"{inputs} to {outputs} channels", partial(conv2d, _features(inputs), layer)


def _fourier(dtype: torch.dtype) -> Cases:
    if dtype == torch.float32:
        for side in (17, 13):  # as in PLKSR
            layer = _randomized(nn.Conv2d(16, 16, side, padding=side // 2))
            yield f"{side}x{side} for 16 channels", partial(conv2d, _features(16), layer)


def _layer_norm(dtype: torch.dtype) -> Cases:
    for channels in (48, 60, 180):
        x, norm = _features(channels), _randomized(nn.LayerNorm(channels))
        for sums in ({}, {"add_before": x.flip(1)}, {"add_after": x.flip(2)}):
            label = f"{channels} channels{', with a sum' if sums else ''}"
            yield label, partial(apply_norm, x, norm, dtype=dtype, **sums)


def _mlp(dtype: torch.dtype) -> Cases:
    norm, layer, x = _randomized(nn.LayerNorm(144)), _randomized(HATMlp(144, 288), dtype), _features(144)
    yield "HAT-S", partial(layer, x, norm)
    for depthwise, name in ((True, "HiT-SRF"), (False, "HiT-SIR")):
        its, after = _randomized(HiTSRMlp(60, 120, depthwise), dtype), _randomized(nn.LayerNorm(60))
        yield name, partial(_in_strips, partial(its, norm=after), 60)


def _vab(dtype: torch.dtype) -> Cases:
    for features, name in ((48, "VapSR"), (32, "VapSR-S")):
        block = _randomized(VAB(features, 64), dtype)
        block.pixel_norm.float()
        yield name, partial(_in_strips, block, features)


def _dual_features(dtype: torch.dtype) -> Cases:
    layer = _randomized(DualFeatureExtraction(60), dtype)
    yield "HiT-SR", partial(_in_strips, partial(layer, height=_HEIGHT, width=_WIDTH), 60)


def _correlation(dtype: torch.dtype) -> Cases:
    if dtype == torch.float32:  # it is computed in fp32 in any precision
        yield from _correlations(HIT_SRF, range(6))


def _ngrams(dtype: torch.dtype) -> Cases:
    if dtype == torch.float32:
        yield from _correlations(HIT_SNG, range(1, 3))


def _correlations(config: HiTSRConfig, blocks: range) -> Cases:
    for block in blocks:
        layer, norm = _randomized(Correlation(config, 6, block)), _randomized(nn.LayerNorm(60))
        label = "HiT-{}, windows of {}x{}".format(config.variant, *config.window(block))
        yield label, partial(_in_strips, partial(layer, width=_WIDTH, norm=norm), 60)


CASES: dict[str, Callable[[torch.dtype], Cases]] = {
    "attention": _attention,
    "convolution": _convolution,
    "correlation": _correlation,
    "dual_features": _dual_features,
    "fourier": _fourier,
    "layer_norm": _layer_norm,
    "mlp": _mlp,
    "ngrams": _ngrams,
    "vab": _vab,
}


def _features(channels: int, height: int = _HEIGHT, width: int = _WIDTH) -> Tensor:
    """(1, height, width, channels), always the same."""
    return torch.randn(1, height, width, channels, generator=torch.Generator().manual_seed(1))


def _gathered(layer: nn.Module, x: Tensor, plan: StripPlan) -> Tensor:
    return gather(layer(x, plan), plan)


def _in_strips(layer: Callable[[Strips], Strips], channels: int) -> Tensor:
    x = split_rows(_features(channels), strip_bounds(_HEIGHT, _STRIP))
    return gather(layer(x), StripPlan(_STRIP))


def _randomized(module: Module, dtype: torch.dtype = torch.float32) -> Module:
    """Give a layer weights in which every tensor matters; its convolutions and linear maps in `dtype`."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1 and "bias_table" not in name:
            parameter.copy_(noise * 0.7 / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.2 * noise + (parameter.dim() == 1 and name.endswith("weight")))
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.to(dtype)
    return module.eval().requires_grad_(False)
