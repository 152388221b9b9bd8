"""Upscale the bundled image and clip: the work of `supertile demo`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..images.imresize import imresize
from ..images.io.files import read_image, write_image
from ..images.io.picture import Picture
from ..images.upscale import upscale_image
from ..video.upscale import upscale_video

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler
    from ..video.report import VideoProgress

HERE = Path(__file__).parent
IMAGE, CLIP = HERE / "image.png", HERE / "clip.webp"


def show(folder: Path, upscaler: Upscaler, progress: Callable[[VideoProgress], None] | None = None) -> list[Path]:
    """Write the upscaled image, the same image beside its bicubic enlargement, and the upscaled clip.

    Args:
        folder: to write to; it is created if it is missing, and files of the same names are replaced.
        upscaler: the model.
        progress: called after each frame of the clip.

    Returns:
        The paths of the three files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small = read_image(IMAGE)
    large = upscale_image(small, upscaler)
    compared = replace(large, color=beside(bicubic(small.color, upscaler.scale), large.color))
    written: list[Path] = []

    def write(name: str, image: Picture) -> None:
        write_image(folder / name, image, overwrite=True)
        written.append(folder / name)

    write("image.png", large)
    write("image_beside_bicubic.png", compared)
    # The one warning is of no use here: an animated WebP always reads as transparent, and MP4 has no transparency.
    upscale_video(CLIP, folder / "clip.mp4", upscaler, overwrite=True, progress=progress, warn=lambda sentence: None)
    written.append(folder / "clip.mp4")
    return written


def bicubic(x: Tensor, scale: int) -> Tensor:
    """Enlarge (C, H, W) in [0, 1] to (C, sH, sW), as image viewers do."""
    return imresize(x, (x.shape[-1] * scale, x.shape[-2] * scale))


def beside(left: Tensor, right: Tensor) -> Tensor:
    """Place two images (C, H, W) of one size side by side, with a white line between them."""
    line = torch.ones(left.shape[0], left.shape[1], 4)
    return torch.cat([left, line, right], dim=2)
