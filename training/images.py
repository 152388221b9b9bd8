"""Images to learn from, made from a seed: scenes drawn three times too large, reduced, and most of them photographed.

The same seed and size give the same image with the same version of Pillow and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from .drawings import draw_graphics, draw_lines, draw_page, draw_print, draw_text
from .fields import any_field, cloud
from .leaves import draw_leaves

FINER = 3
"""How much finer than the image a scene is drawn; reducing it is its antialiasing."""


def make_image(seed: int, index: int, size: int, only: str = "", typefaces: Sequence[Path] = ()) -> NDArray[np.uint8]:
    """Image `index` of the series `seed`, (size, size, 3), of any kind in `SCENES` or of one.

    Letters are set in Pillow's typeface and in the files `typefaces`.
    """
    rng = np.random.default_rng([seed, index])
    kind = SCENES[only or str(rng.choice(list(SCENES), p=[kind.share for kind in SCENES.values()]))]
    scene = kind.draw(rng, size * FINER, typefaces)
    pixels = np.array(scene.resize((size, size), kind.filters[rng.integers(len(kind.filters))]))
    if kind.take is None:
        return pixels
    return (255 * kind.take(rng, pixels.astype(np.float32) / np.float32(255))).round().astype(np.uint8)


def photographed(rng: Generator, scene: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light, blur, expose and develop a scene (H, H, 3) in [0, 1] as a camera does; return the same shape."""
    size = scene.shape[0]
    light = np.exp(rng.uniform(0, 0.8) * (cloud_of_light(rng, size) - 0.6))[..., None]
    image = torch.from_numpy(scene * light).permute(2, 0, 1)[None].float()
    image = blur(image, sigma=max(0.0, rng.normal(0.35, 0.3)))
    if rng.random() < 0.1:  # part of it out of focus
        mask = torch.from_numpy(any_field(rng, size))
        image = torch.lerp(image, blur(image, sigma=rng.uniform(1, 3)), mask)
    if rng.random() < 0.4:  # sharpened, as cameras and editors do
        image = image + rng.uniform(0.1, 0.8) * (image - blur(image, sigma=rng.uniform(0.5, 1.2)))
    developed = exposed(rng, image[0].permute(1, 2, 0).clamp(0, 1).numpy())
    if rng.random() < 0.06:
        developed = np.repeat(developed.mean(2, keepdims=True), 3, axis=2)
    noise = max(0.0, rng.normal(0, 1.2)) / 255
    return (developed + noise * rng.standard_normal((size, size, 1), np.float32)).clip(0, 1).astype(np.float32)


def scanned(rng: Generator, page: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change a page (H, H, 3) in [0, 1] as little as a scanner or a screen does; return the same shape."""
    shade = 1 - max(0.0, rng.normal(0, 0.08)) * cloud_of_light(rng, page.shape[0])[..., None]
    soft = blur(torch.from_numpy(page * shade).permute(2, 0, 1)[None].float(), sigma=max(0.0, rng.normal(0.2, 0.25)))
    return soft[0].permute(1, 2, 0).clamp(0, 1).numpy()


def exposed(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A gamma that brings the median to a lightness that a photographer would choose."""
    median = float(np.median(image[::4, ::4]))
    wanted = float(np.clip(rng.normal(0.45, 0.12), 0.12, 0.8))
    gamma = np.log(wanted) / np.log(np.clip(median, 0.02, 0.95))
    return image ** np.float32(np.clip(gamma, 0.45, 2.2))


def cloud_of_light(rng: Generator, size: int) -> NDArray[np.float32]:
    """Uneven light: a very coarse cloud, (size, size) in [0, 1]."""
    small = Image.fromarray(cloud(rng, 64)[:24, :24])
    return np.array(small.resize((size, size), Resampling.BICUBIC), np.float32)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian, (N, C, H, W), the edge repeated."""
    if sigma < 0.15:
        return x
    reach = int(np.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    n, c, h, w = x.shape
    x = F.pad(x, (reach,) * 4, mode="replicate").reshape(n * c, 1, h + 2 * reach, w + 2 * reach)
    return F.conv2d(F.conv2d(x, taps[None, None, :, None]), taps[None, None, None, :]).reshape(n, c, h, w)


PHOTOGRAPHIC = (Resampling.BOX, Resampling.BICUBIC, Resampling.LANCZOS)


@dataclass(frozen=True)
class SceneKind:
    """One kind of scene.

    Attributes:
        draw: draws it, with sides of as many pixels as are asked for, and letters in the typefaces that are given.
        share: of all images; 0 for what is only made alone.
        take: what a camera or a scanner does to it, pixels (H, H, 3) in [0, 1]; None for what programs draw.
        filters: one of these reduces it.
    """

    draw: Callable[[Generator, int, Sequence[Path]], Image.Image]
    share: float
    take: Callable[[Generator, NDArray[np.float32]], NDArray[np.float32]] | None = photographed
    filters: tuple[Resampling, ...] = PHOTOGRAPHIC


def _plain(draw: Callable[[Generator, int], Image.Image]) -> Callable[[Generator, int, Sequence[Path]], Image.Image]:
    """Return a function for `SceneKind.draw` of one that needs no typefaces."""
    return lambda rng, size, typefaces: draw(rng, size)


SCENES = {
    "leaves": SceneKind(_plain(draw_leaves), 0.72),
    "lines": SceneKind(_plain(draw_lines), 0.1),
    "text": SceneKind(draw_text, 0.06),
    "page": SceneKind(draw_page, 0.08, scanned),
    # What programs draw has no halos, and on screens sometimes no antialiasing.
    "graphics": SceneKind(draw_graphics, 0.04, None, (Resampling.BOX, Resampling.NEAREST)),
    "print": SceneKind(draw_print, 0, scanned),
}
