"""Transfer functions: encoded values to linear light and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transfer:
    """A transfer function on values in [0, 1].

    Attributes:
        name: for messages and comparison.
        to_linear: encoded values to light, float32.
        from_linear: the inverse.
    """

    name: str
    to_linear: Callable[[Tensor], Tensor]
    from_linear: Callable[[Tensor], Tensor]


def to_linear(x: Tensor) -> Tensor:
    """Apply sRGB's electro-optical transfer function (IEC 61966-2-1) to values in [0, 1]."""
    x = x.float()
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055).pow(2.4))


def to_srgb(x: Tensor) -> Tensor:
    """Apply the inverse of `to_linear` to values in [0, 1]."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.pow(1 / 2.4) - 0.055).clamp_(0, 1)


def gamma(exponent: float) -> Transfer:
    """Return the power function with this exponent from values to light."""
    return Transfer(
        f"gamma {exponent:.4g}",
        lambda x: x.float().clamp(0, 1).pow(exponent),
        lambda x: x.clamp(0, 1).pow(1 / exponent),
    )


# Perceptual quantizer, SMPTE ST 2084.
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def _pq_to_linear(x: Tensor) -> Tensor:
    power = _precise(x).pow(1 / _M2)
    return ((power - _C1).clamp_min(0) / (_C2 - _C3 * power)).pow(1 / _M1).to(x.device, torch.float32)


def _linear_to_pq(x: Tensor) -> Tensor:
    power = _precise(x).pow(_M1)
    return ((_C1 + _C2 * power) / (1 + _C3 * power)).pow(_M2).to(x.device, torch.float32).clamp_(0, 1)


def _precise(x: Tensor) -> Tensor:
    """Clamp to [0, 1], as float64; on the CPU where the device has none (Apple's MPS)."""
    return (x.cpu() if x.device.type == "mps" else x).double().clamp(0, 1)


# Hybrid log-gamma, ARIB STD-B67.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073


def _hlg_to_linear(x: Tensor) -> Tensor:
    code = _precise(x)
    light = torch.where(code <= 0.5, code * code / 3, (((code - _C) / _A).exp() + _B) / 12)
    return light.to(x.device, torch.float32)


def _linear_to_hlg(x: Tensor) -> Tensor:
    light = _precise(x)
    code = torch.where(light <= 1 / 12, (3 * light).sqrt(), _A * (12 * light - _B).clamp_min(1e-9).log() + _C)
    return code.to(x.device, torch.float32).clamp_(0, 1)


SRGB = Transfer("sRGB", to_linear, to_srgb)
LINEAR = Transfer("linear", lambda x: x.float(), lambda x: x.clamp(0, 1))
PQ = Transfer("PQ", _pq_to_linear, _linear_to_pq)
HLG = Transfer("HLG", _hlg_to_linear, _linear_to_hlg)

# By the code points of ITU-T H.273. BT.709 and its relatives are shown like sRGB, as `resize` treats all profiles.
_CICP = {4: gamma(2.2), 5: gamma(2.8), 8: LINEAR, 16: PQ, 17: gamma(2.6), 18: HLG}


def transfer_of_cicp(code: int) -> Transfer:
    """Return the function of a TransferCharacteristics code point; sRGB for those that are close to it or unknown."""
    return _CICP.get(code, SRGB)
