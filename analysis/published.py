"""Published PSNR and SSIM (on Y) of networks on the benchmarks of super-resolution, with their sources.

Only figures that could be read at their source, or where it says "as quoted". Therefore missing: SSIM of HAT except on
Urban100, HAT on the other sets at x2 and x3, and VapSR at x2 and x3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SETS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109}
"""Benchmark -> its number of images."""

_OTHER_NAMES = {"b100": "B100", "bsd100": "B100", "bsds100": "B100"} | {name.lower(): name for name in SETS}

_VAPSR = "README of zhoumumu/VapSR"
_HIT = "Zhang et al., HiT-SR, ECCV 2024, table 2"
_HIT_DF2K = "README of XiangZ-0/HiT-SR"
_HAT = "README of XPixelGroup/HAT"
_HAT_L = "Chen et al., HAT, as quoted in the README of ming053l/DRCT"
_HAT_URBAN = "Chen et al., HAT, as quoted in arch_info.py of the-database/traiNNer-redux"
_BICUBIC = "Lim et al., EDSR, 2017, as quoted in the README of thstkdgus35/EDSR-PyTorch"

# (network, scale, source) -> PSNR/SSIM on each of SETS, "-" where that source has none.
_TABLE = {
    ("bicubic", 2, _BICUBIC): "33.66/.9299 30.24/.8688 29.56/.8431 26.88/.8403 -",
    ("bicubic", 3, _BICUBIC): "30.39/.8682 27.55/.7742 27.21/.7385 24.46/.7349 -",
    ("bicubic", 4, _BICUBIC): "28.42/.8104 26.00/.7027 25.96/.6675 23.14/.6577 -",
    ("VapSR-S", 4, _VAPSR): "32.14/.8951 28.64/.7826 27.60/.7373 26.05/.7852 -",
    ("VapSR", 4, _VAPSR): "32.38/.8978 28.77/.7852 27.68/.7398 26.35/.7941 -",
    ("HiT-SIR", 2, _HIT): "38.22/.9613 33.91/.9213 32.35/.9019 33.02/.9365 39.38/.9782",
    ("HiT-SNG", 2, _HIT): "38.21/.9612 34.00/.9217 32.35/.9020 33.01/.9360 39.32/.9782",
    ("HiT-SRF", 2, _HIT): "38.26/.9615 34.01/.9214 32.37/.9023 33.13/.9372 39.47/.9787",
    ("HiT-SIR", 3, _HIT): "34.72/.9298 30.62/.8474 29.27/.8101 28.93/.8673 34.40/.9496",
    ("HiT-SNG", 3, _HIT): "34.74/.9297 30.62/.8474 29.26/.8100 28.91/.8671 34.38/.9495",
    ("HiT-SRF", 3, _HIT): "34.75/.9300 30.61/.8475 29.29/.8106 28.99/.8687 34.53/.9502",
    ("HiT-SIR", 4, _HIT): "32.51/.8991 28.84/.7873 27.73/.7424 26.71/.8045 31.23/.9176",
    ("HiT-SNG", 4, _HIT): "32.55/.8991 28.83/.7873 27.74/.7426 26.75/.8053 31.24/.9176",
    ("HiT-SRF", 4, _HIT): "32.55/.8999 28.87/.7880 27.75/.7432 26.80/.8069 31.26/.9171",
    ("HiT-SRF-DF2K", 2, _HIT_DF2K): "38.30/.9615 34.06/.9217 32.41/.9027 33.30/.9387 39.67/.9793",
    ("HiT-SRF-DF2K", 3, _HIT_DF2K): "34.79/.9301 30.68/.8486 29.33/.8113 29.16/.8717 34.71/.9510",
    ("HiT-SRF-DF2K", 4, _HIT_DF2K): "32.63/.8993 28.96/.7899 27.78/.7442 27.00/.8119 31.55/.9203",
    ("HAT-S", 2, _HAT_URBAN): "- - - 34.31/.9459 -",
    ("HAT", 2, _HAT_URBAN): "- - - 34.45/.9466 -",
    ("HAT-L", 2, _HAT_URBAN): "- - - 35.09/.9513 -",
    ("HAT-S", 3, _HAT_URBAN): "- - - 30.15/.8879 -",
    ("HAT", 3, _HAT_URBAN): "- - - 30.23/.8896 -",
    ("HAT-L", 3, _HAT_URBAN): "- - - 30.92/.8981 -",
    ("HAT-S", 4, _HAT): "32.92 29.15 27.97 - 32.35",
    ("HAT", 4, _HAT): "33.04 29.23 28.00 - 32.48",
    ("HAT-L", 4, _HAT_L): "33.30 29.47 28.09 - 33.09",
    ("HAT-S", 4, _HAT_URBAN): "- - - 27.87/.8346 -",
    ("HAT", 4, _HAT_URBAN): "- - - 27.97/.8368 -",
    ("HAT-L", 4, _HAT_URBAN): "- - - 28.60/.8498 -",
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """The mean that authors report for a network on a benchmark; `ssim_y` is None if they report PSNR only."""

    network: str
    benchmark: str
    scale: int
    psnr_y: float
    ssim_y: float | None
    source: str


def published(benchmark: str, scale: int) -> list[Published]:
    """Return the published results on a benchmark (a key of SETS) at a scale, in the order of the table."""
    column = list(SETS).index(benchmark)
    results = []
    for (network, its_scale, source), figures in _TABLE.items():
        figure = figures.split()[column]
        if its_scale == scale and figure != "-":
            psnr, _, ssim = figure.partition("/")
            results.append(Published(network, benchmark, scale, float(psnr), float(ssim) if ssim else None, source))
    return results


def benchmark_of(folder: Path, images: int) -> str | None:
    """Return the benchmark whose name is in a folder's path (`Set5_HR`, `BSDS100/HR`), if its images are that many."""
    for part in reversed(folder.resolve().parts):
        for word in re.split(r"[^a-z0-9]+", part.lower()):
            name = _OTHER_NAMES.get(word)
            if name is not None:
                return name if SETS[name] == images else None
    return None
