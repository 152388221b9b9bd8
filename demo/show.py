"""What `supertile demo` does: the bundled image and clip, enlarged, and both beside bicubic."""

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
PICTURE, CLIP = HERE / "image.png", HERE / "clip.webp"


def show(folder: Path, upscaler: Upscaler, progress: Callable[[VideoProgress], None] | None = None) -> list[Path]:
    """Write into `folder`, which is made: the image enlarged, the same beside bicubic, the clip enlarged.

    Returns the paths. Files that are there are replaced. Raises what reading, writing and the upscaler raise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small = read_image(PICTURE)
    large = upscale_image(small, upscaler)
    compared = replace(large, color=beside(bicubic(small.color, upscaler.scale), large.color))
    written: list[Path] = []

    def write(name: str, image: Picture) -> None:
        write_image(folder / name, image, overwrite=True)
        written.append(folder / name)

    write("image.png", large)
    write("image_beside_bicubic.png", compared)
    # Not a word of it: an animated WebP is always read as transparent, and MP4 holds no transparency.
    upscale_video(CLIP, folder / "clip.mp4", upscaler, overwrite=True, progress=progress, warn=lambda sentence: None)
    written.append(folder / "clip.mp4")
    return written


def bicubic(x: Tensor, scale: int) -> Tensor:
    """(C, H, W) in [0, 1] -> (C, sH, sW), as viewers enlarge."""
    return imresize(x, (x.shape[-1] * scale, x.shape[-2] * scale))


def beside(left: Tensor, right: Tensor) -> Tensor:
    """Two images (C, H, W) of one size with a white line between them."""
    line = torch.ones(left.shape[0], left.shape[1], 4)
    return torch.cat([left, line, right], dim=2)
