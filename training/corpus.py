"""Training data: tiles of large images and their small versions, on disk, uint8, mapped into memory.

A corpus is a folder with `large.npy` (N, S, S, 3) and, for each scale it was opened with, `small_x2.npy` and so on. The
small images are made of whole tiles once, so that a crop of one has never seen an edge that the image has not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..images.imresize import downscale
from .degradations import MARGIN, Pixels, degraded
from .errors import TrainingError
from .images import SCENES, make_image
from .typefaces import typeface_files

Progress = Callable[[int, int], None]


class Corpus:
    """Pairs of tiles for one scale. `large` (N, S, S, 3) and `small` (N, S / scale, S / scale, 3), both uint8."""

    def __init__(self, folder: Path, scale: int) -> None:
        self.scale = scale
        self.large = _mapped(folder / "large.npy")
        if self.large.shape[1] % scale:
            side = self.large.shape[1]
            raise TrainingError(f"The tiles in {folder} have sides of {side} pixels, which {scale} does not divide")
        path = folder / f"small_x{scale}.npy"
        if not path.exists():
            _shrink(self.large, path, scale)
        self.small = _mapped(path)

    def crop(
        self, rng: Generator, patch: int, degraded_share: float = 0.0, plain_share: float = 0.0
    ) -> tuple[Pixels, Pixels]:
        """Return a random crop, flipped and turned: small (patch, patch, 3) and large, `scale` times as large.

        Args:
            rng: decides where it lies and what happens to it.
            patch: sides of the small crop in pixels.
            degraded_share: the chance that the small one is degraded, see `degradations`.
            plain_share: how many of these have one thing done to them.

        Raises:
            TrainingError: if the tiles are smaller than the crop.
        """
        margin = MARGIN if degraded_share else 0
        around, side = patch + 2 * margin, self.small.shape[1]
        if around > side:
            reason = f" and {margin} around it" if margin else ""
            raise TrainingError(f"A patch of {patch} pixels{reason} does not fit into small images of {side}")
        n, (y, x), turn = rng.integers(len(self.small)), rng.integers(0, side - around + 1, 2), int(rng.integers(8))
        small, large = _cropped(self.small[n], y, x, around), _cropped(self.large[n], y, x, around, self.scale)
        small, large = _turned(small, turn), _turned(large, turn)
        if degraded_share and rng.random() < degraded_share:
            small = degraded(rng, small, large, plain_share)
        return _cropped(small, margin, margin, patch), _cropped(large, margin, margin, patch, self.scale)

    def batch(
        self, seed: int, step: int, count: int, patch: int, degraded_share: float = 0.0, plain_share: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Return the crops of a training's step, the same for the same arguments.

        Returns:
            Small (count, 3, patch, patch) and large, `scale` times as large, float32 in [0, 1].
        """
        rng = np.random.default_rng([seed, step])
        return _as_tensors([self.crop(rng, patch, degraded_share, plain_share) for _ in range(count)])


class Mixture:
    """Corpora for one scale, each with its share of the crops and, where it is not None, a `plain_share` of its own."""

    def __init__(
        self, corpora: Sequence[Corpus], shares: Sequence[float], plain_shares: Sequence[float | None] | None = None
    ) -> None:
        if len({corpus.scale for corpus in corpora}) != 1 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise TrainingError(f"Shares of crops are from 0 to 1 and add up to 1, not {', '.join(map(str, shares))}")
        self.plain_shares = list(plain_shares or [None] * len(corpora))
        if beyond := [share for share in self.plain_shares if share is not None and not 0 <= share <= 1]:
            raise TrainingError(f"A plain_share is from 0 to 1, not {beyond[0]}")
        self.corpora, self.shares, self.scale = list(corpora), list(shares), corpora[0].scale

    def batch(
        self, seed: int, step: int, count: int, patch: int, degraded_share: float = 0.0, plain_share: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Return the crops of a training's step, as `Corpus.batch` does; each is of a corpus drawn by its share."""
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(self.corpora), size=count, p=self.shares)
        plain = [plain_share if share is None else share for share in self.plain_shares]
        return _as_tensors([self.corpora[index].crop(rng, patch, degraded_share, plain[index]) for index in chosen])


def generate(
    folder: Path,
    *,
    seed: int,
    count: int,
    size: int,
    workers: int,
    only: str = "",
    typefaces: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Write `count` images of our own making, see `images`. Nothing is done where they are there already.

    Args:
        folder: of the corpus.
        seed: the same one gives the same images.
        count: of images.
        size: of their sides in pixels.
        workers: processes.
        only: of one kind.
        typefaces: a folder with TrueType and OpenType files, which letters are set in beside Pillow's typeface.
        progress: is called with the images made and to be made.
    """
    if only and only not in SCENES:
        raise TrainingError(f"There are no scenes {only!r}; there are {', '.join(SCENES)}")
    files = typeface_files(typefaces) if typefaces else []
    origin = f"{only} seed {seed} size {size}".strip() + (f" typefaces {len(files)}" if files else "")
    _write(folder, origin, (count, size), partial(_made, seed, size, only, files), workers, progress)


def collect(folder: Path, sources: list[Path], *, size: int, progress: Progress | None = None) -> None:
    """Cut a user's own images into tiles; those smaller than a tile are left out."""
    places = [place for source in sources for place in _places(source, size)]
    if not places:
        raise TrainingError(f"None of the {len(sources)} images is as large as a tile of {size}x{size} pixels")
    _write(folder, f"own {len(places)} size {size}", (len(places), size), partial(_cut, places, size), 1, progress)


def _write(
    folder: Path,
    origin: str,
    shape: tuple[int, int],
    make: Callable[[int], NDArray[np.uint8]],
    workers: int,
    progress: Progress | None,
) -> None:
    count, size = shape
    target, part, mark = folder / "large.npy", folder / "large.part.npy", folder / "origin.txt"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"{origin} count {count}"
    if target.exists() and mark.exists():
        if mark.read_text().strip() != wanted:
            raise TrainingError(f"{folder} holds another corpus ({mark.read_text().strip()}); name another folder")
        return
    tiles = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    for done, tile in enumerate(_made_by(workers, make, count)):
        tiles[done] = tile
        if progress:
            progress(done + 1, count)
    tiles.flush()
    del tiles
    mark.write_text(wanted + "\n")
    os.replace(part, target)


def _made_by(workers: int, make: Callable[[int], NDArray[np.uint8]], count: int) -> Iterator[NDArray[np.uint8]]:
    if workers <= 1:
        yield from map(make, range(count))
        return
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(make, range(count), chunksize=4)


def _made(seed: int, size: int, only: str, typefaces: list[Path], index: int) -> NDArray[np.uint8]:
    return make_image(seed, index, size, only, typefaces)


def _places(source: Path, size: int) -> list[tuple[Path, int, int]]:
    """Where tiles of an image lie: side by side, the last ones moved back into the image."""
    try:
        with Image.open(source) as image:
            width, height = image.size
    except OSError as error:
        raise TrainingError(f"{source} cannot be read as an image ({error})") from error
    if min(width, height) < size:
        return []
    rows, columns = (sorted({min(at, side - size) for at in range(0, side, size)}) for side in (height, width))
    return [(source, y, x) for y in rows for x in columns]


def _cut(places: list[tuple[Path, int, int]], size: int, index: int) -> NDArray[np.uint8]:
    source, y, x = places[index]
    with Image.open(source) as image:
        return np.array(image.convert("RGB").crop((x, y, x + size, y + size)))


def _shrink(large: NDArray[np.uint8], path: Path, scale: int) -> None:
    count, side = large.shape[:2]
    part = path.with_suffix(".part.npy")
    small = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(count, side // scale, side // scale, 3))
    for n in range(count):
        small[n] = reduced(np.array(large[n]), scale)
    small.flush()
    os.replace(part, path)


def reduced(large: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """The small version of pixels (H, W, 3), as of a benchmark's image."""
    image = torch.from_numpy(large).permute(2, 0, 1).float() / 255
    small: NDArray[np.uint8] = (downscale(image, scale) * 255).round().byte().permute(1, 2, 0).numpy()
    return small


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        tiles: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise TrainingError(f"There is no corpus that can be read at {path.parent} ({error})") from error
    return tiles


def _cropped(tile: NDArray[np.uint8], y: int, x: int, patch: int, scale: int = 1) -> NDArray[np.uint8]:
    return tile[y * scale : (y + patch) * scale, x * scale : (x + patch) * scale]


def _turned(tile: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """One of the eight symmetries of a square."""
    tile = np.rot90(tile, turn % 4)
    return tile[:, ::-1] if turn >= 4 else tile


def _as_tensors(crops: list[tuple[Pixels, Pixels]]) -> tuple[Tensor, Tensor]:
    small, large = (np.stack(tiles) for tiles in zip(*crops, strict=True))
    return _as_tensor(small), _as_tensor(large)


def _as_tensor(tiles: Pixels) -> Tensor:
    return torch.from_numpy(tiles).permute(0, 3, 1, 2).float().div_(255)
