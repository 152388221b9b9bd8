"""Matrices, code ranges and chroma siting of video samples, exactly as in the standards.

Source: Rec. ITU-T H.273 (2021), section 8.3, which repeats BT.601, BT.709, BT.2020, SMPTE 240M and FCC 47 CFR 73.682.
Numbers are float64; `yuv.py` applies them to tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..frames import Color

# AVCOL_SPC_* (H.273 MatrixCoefficients) -> (K_R, K_B), H.273 table 4.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
# Other matrices are not a weighted sum of R'G'B'. The closest of the above replaces them in both directions: the codes
# survive, although the network sees slightly wrong colors. The reader warns.
_CLOSEST = {10: 9, 11: 9, 13: 9, 14: 9, 15: 9}


def luma_weights(matrix: int) -> tuple[float, float]:
    """Return (K_R, K_B), the weights of R and B in luma, of an AVCOL_SPC_* code; BT.709 for unknown codes."""
    return _LUMA_WEIGHTS[_CLOSEST.get(matrix, matrix if matrix in _LUMA_WEIGHTS else 1)]


def ycc_from_rgb(matrix: int) -> np.ndarray:
    """Return (3, 3): R'G'B' in [0, 1] to Y' in [0, 1] and Cb, Cr in [-1/2, 1/2]; H.273 equations 38 to 40."""
    kr, kb = luma_weights(matrix)
    luma = np.array([kr, 1 - kr - kb, kb])
    return np.stack(
        [luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - kb)), (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))]
    )


def rgb_from_ycc(matrix: int) -> np.ndarray:
    """Return the inverse of `ycc_from_rgb`, (3, 3). Its first column is ones."""
    kr, kb = luma_weights(matrix)
    kg = 1 - kr - kb
    return np.array([
        [1, 0, 2 * (1 - kr)],
        [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
        [1, 2 * (1 - kb), 0],
    ])  # fmt: skip


@dataclass(frozen=True)
class CodeRange:
    """code = offset + scale * value, with value in [0, 1] for luma, [-1/2, 1/2] for chroma."""

    luma_offset: float
    luma_scale: float
    chroma_offset: float
    chroma_scale: float

    @classmethod
    def of(cls, depth: int, full: bool) -> CodeRange:
        """Return the range of a bit depth; H.273 equations 29 to 37."""
        if full:
            return cls(0, 2**depth - 1, 2 ** (depth - 1), 2**depth - 1)
        step = 2 ** (depth - 8)
        return cls(16 * step, 219 * step, 128 * step, 224 * step)


def is_cosited(color: Color) -> tuple[bool, bool]:
    """Return (horizontally, vertically): True if chroma lies on a luma sample, False if midway between two."""
    if color.siting not in ("left", "center", "topleft"):
        raise ValueError(f"siting must be left, center or topleft, not {color.siting!r}.")
    return color.siting != "center", color.siting == "topleft"
