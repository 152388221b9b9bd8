"""Tell whether an image has been compressed or is noisy, so that the network for such images is the first choice.

A lossy format says so itself. In a lossless file two measurements of luma do: steps at the borders of 8x8 blocks, as
JPEG leaves them, and noise where the image is flattest.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .io.errors import ImageFileError
from .io.opening import open_image

Luma = NDArray[np.float32]

MIN_BLOCKING = 3.5
"""Standard errors by which steps at every eighth pixel exceed those between."""
MIN_NOISE = 2.5
"""Standard deviation in codes."""
MAX_COARSE_TO_FINE = 1.8
"""White noise is equally strong at both scales; texture is stronger at the coarse one."""

_SAMPLE = 768  # side of the square in the middle that is measured
_MAX_STEP = 12  # larger steps are edges of the picture
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_AVIF_BRANDS, _HEIC_BRANDS = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1")


class SourceKind(NamedTuple):
    """The kind of a source.

    Attributes:
        is_degraded: True if it is compressed or noisy.
        reason: the predicate of a sentence about it, "is a JPEG"; "" if it cannot be read.
    """

    is_degraded: bool
    reason: str


def source_kind(path: str | Path) -> SourceKind:
    """Return the kind of an image file. One that cannot be read counts as clean; reading it later says why."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            lossy = lossy_format(file.read(4096))
            if lossy:
                return SourceKind(True, f"is {lossy}")
            file.seek(0)
            with open_image(file, path) as image:
                if image.info.get("compression") in _LOSSY_TIFF:
                    return SourceKind(True, f"is compressed as {image.info['compression'].removeprefix('tiff_')}")
                width, height = image.size
                left, top = max(0, (width - _SAMPLE) // 2), max(0, (height - _SAMPLE) // 2)
                sample = image.crop((left, top, min(width, left + _SAMPLE), min(height, top + _SAMPLE)))
                deep = sample.mode.startswith("I")
                luma = np.asarray(sample if deep else sample.convert("L"), np.float32)
    except (OSError, ImageFileError, ValueError, SyntaxError, EOFError, MemoryError):
        return SourceKind(False, "")
    return luma_kind(luma / np.float32(257) if deep else luma)


def luma_kind(luma: Luma) -> SourceKind:
    """Return the kind of an image whose luma (H, W) in codes from 0 to 255 is given."""
    if (blocking(luma, 0) + blocking(luma, 1)) / 2 > MIN_BLOCKING:
        return SourceKind(True, "has the blocks of a JPEG")
    sigma, coarse_to_fine = noise(luma)
    if sigma > MIN_NOISE and coarse_to_fine < MAX_COARSE_TO_FINE:
        return SourceKind(True, "is noisy")
    return SourceKind(False, "is clean")


def blocking(luma: Luma, axis: int) -> float:
    """Return by how many standard errors the steps at one of eight phases along an axis exceed the others."""
    y = luma if axis else luma.T
    steps = np.minimum(np.abs(np.diff(y, axis=1)), _MAX_STEP)
    excess = (steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).mean(0)
    count = len(excess) // 8
    if count < 4:
        return 0.0
    by_phase = excess[: 8 * count].reshape(count, 8)
    means = by_phase.mean(0)
    grid = int(means.argmax())
    others = [phase for phase in range(8) if (phase - grid) % 8 not in (0, 1, 7)]  # neighbors lose what the grid gains
    error = by_phase[:, others].std() / np.sqrt(count) + 0.02
    return float((means[grid] - means[others].mean()) / error)


def noise(luma: Luma) -> tuple[float, float]:
    """Return the standard deviation of the noise in the flattest eighth, and that of coarse details relative to it.

    The former is the diagonal Haar band's, as in Donoho and Johnstone, "Ideal spatial adaptation by wavelet
    shrinkage", Biometrika 1994, but by blocks of 16x16 pixels, because texture fills whole images.
    """
    rows, columns = luma.shape[0] // 16, luma.shape[1] // 16
    if rows * columns < 16:
        return 0.0, np.inf
    low, horizontal, vertical, diagonal = _haar(luma[: 16 * rows, : 16 * columns])
    fine = _energy((horizontal, vertical, diagonal), rows, columns)
    coarse = _energy(_haar(low)[1:], rows, columns)
    level = low.reshape(rows, 8, columns, 8).mean((1, 3)) / 2
    usable = (level > 16) & (level < 239)  # black and white clip noise
    if usable.sum() < 16:
        return 0.0, np.inf
    fine, coarse, diagonal = fine[usable], coarse[usable], _energy((diagonal,), rows, columns)[usable]
    flattest = np.argsort(fine + coarse)[: max(4, len(fine) // 8)]
    sigma = float(np.sqrt(np.median(diagonal[flattest])))
    return sigma, float(np.sqrt(np.median(coarse[flattest]))) / max(sigma, 1e-3)


def _haar(y: Luma) -> tuple[Luma, Luma, Luma, Luma]:
    """Return the low, horizontal, vertical and diagonal bands, orthonormal."""
    half = np.float32(0.5)
    a, b, c, d = y[::2, ::2] * half, y[::2, 1::2] * half, y[1::2, ::2] * half, y[1::2, 1::2] * half
    return a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d


def _energy(bands: tuple[Luma, ...], rows: int, columns: int) -> NDArray[np.float32]:
    """Return the mean square of the bands in each block."""
    total = sum(band**2 for band in bands)
    assert isinstance(total, np.ndarray)
    height, width = total.shape
    return total.reshape(rows, height // rows, columns, width // columns).mean((1, 3)) / len(bands)


def lossy_format(head: bytes) -> str:
    """Return which lossy format the first bytes of a file show, "a JPEG"; "" if none."""
    if head.startswith(b"\xff\xd8\xff"):
        return "a JPEG"
    if head[4:8] == b"ftyp":
        if head[8:12] in _AVIF_BRANDS:
            return "an AVIF image"
        return "a HEIC image" if head[8:12] in _HEIC_BRANDS else ""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and _is_lossy_webp(head):
        return "a lossy WebP"
    return ""


def _is_lossy_webp(head: bytes) -> bool:
    """Return True unless the first pixels are stored in a chunk VP8L."""
    at = 12
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8 "
        at += 8 + (16 if name == b"ANMF" else size + size % 2)
    return b"VP8L" not in head
