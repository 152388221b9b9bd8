"""Convert RGB between the transfer functions and primaries of two colors, for a source that changes on the way.

Light is in cd/m2 on a display: SDR by BT.1886 with white at 203 cd/m2 (BT.2408), PQ by SMPTE ST 2084, HLG by BT.2100 on
a display of 1000 cd/m2. Brighter light than the target holds is clipped. The SDR transfer functions count as one, as in
players.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..frames import Color

_WHITE = 203.0  # cd/m2 of SDR white, BT.2408
_SDR_GAMMA = 2.4  # BT.1886
_PQ_PEAK, _HLG_PEAK, _HLG_GAMMA = 10_000.0, 1000.0, 1.2
_LINEAR, _PQ, _HLG = 8, 16, 18  # AVCOL_TRC_*

# AVCOL_PRI_* -> x and y of red, green, blue and white; H.273 table 2.
_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}


def same_light(source: Color, target: Color) -> bool:
    """Return True if equal RGB is equal light in both colors."""
    return source.curve == target.curve and _same_primaries(source, target)


def convert(rgb: Tensor, source: Color, target: Color) -> Tensor:
    """Return RGB of the `target` color, with the light of `rgb` in the `source` color.

    Args:
        rgb: (3, H, W), or (1, H, W) for gray, float32. Values outside [0, 1] are clipped if they need conversion.
        source, target: their transfer functions and primaries; matrix, range and siting do not matter.

    Returns:
        A tensor of the same shape, or `rgb` itself if nothing is to be converted.
    """
    if same_light(source, target):
        return rgb
    light = _to_light(rgb.clamp(0, 1), source.curve)
    if rgb.shape[0] == 3 and not _same_primaries(source, target):
        matrix = torch.tensor(_between(source.primaries, target.primaries), dtype=rgb.dtype, device=rgb.device)
        light = torch.einsum("oi,ihw->ohw", matrix, light).clamp_(min=0)
    return _from_light(light, target.curve).clamp_(0, 1)


def _same_primaries(source: Color, target: Color) -> bool:
    known = {source.primaries, target.primaries} <= _PRIMARIES.keys()
    return not known or _PRIMARIES[source.primaries] == _PRIMARIES[target.primaries]


def _to_light(values: Tensor, curve: int) -> Tensor:
    if curve == _PQ:
        return _PQ_PEAK * _pq_light(values)
    if curve == _HLG:
        a, b, c = _HLG_CONSTANTS
        scene = torch.where(values <= 0.5, values.square() / 3, (((values - c) / a).exp() + b) / 12)
        return _HLG_PEAK * scene * _luminance(scene).clamp(min=1e-6) ** (_HLG_GAMMA - 1)
    return _WHITE * (values if curve == _LINEAR else values**_SDR_GAMMA)


def _from_light(light: Tensor, curve: int) -> Tensor:
    if curve == _PQ:
        return _pq_code((light / _PQ_PEAK).clamp(0, 1))
    if curve == _HLG:
        a, b, c = _HLG_CONSTANTS
        display = light / _HLG_PEAK
        scene = (display * _luminance(display).clamp(min=1e-6) ** (1 / _HLG_GAMMA - 1)).clamp(0, 1)
        return torch.where(scene <= 1 / 12, (3 * scene).sqrt(), a * (12 * scene - b).clamp(min=1e-6).log() + c)
    display = (light / _WHITE).clamp(0, 1)
    return display if curve == _LINEAR else display ** (1 / _SDR_GAMMA)


_HLG_CONSTANTS = (0.17883277, 0.28466892, 0.55991073)  # BT.2100 table 5
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32  # ST 2084


def _pq_light(values: Tensor) -> Tensor:
    power = values ** (1 / _M2)
    return ((power - _C1).clamp(min=0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _pq_code(light: Tensor) -> Tensor:
    power = light**_M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _luminance(light: Tensor) -> Tensor:
    if light.shape[0] == 1:
        return light
    return (0.2627 * light[0] + 0.6780 * light[1] + 0.0593 * light[2])[None]


@cache
def _between(source: int, target: int) -> np.ndarray:
    """Return (3, 3): linear RGB of one set of primaries to another, without adapting the white point."""
    return np.linalg.solve(_xyz_from_rgb(target), _xyz_from_rgb(source))


def _xyz_from_rgb(primaries: int) -> np.ndarray:
    *colors, white = ([x / y, 1, (1 - x - y) / y] for x, y in _PRIMARIES[primaries])
    columns = np.array(colors).T
    return columns * np.linalg.solve(columns, np.array(white))
