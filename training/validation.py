"""How good a network is, on images it has not learned from: PSNR as papers report it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..analysis.fidelity import psnr_y
from ..images.imresize import downscale
from .errors import TrainingError

SUFFIXES = {".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class Validation:
    """Pairs of images (3, H, W) in [0, 1]: small, large."""

    pairs: list[tuple[Tensor, Tensor]]
    scale: int

    @classmethod
    def of(cls, folder: Path, scale: int) -> Validation:
        """Of the large images in a folder, cropped to multiples of the scale. Raises TrainingError if there are none.

        In the folders of benchmarks, where small ones lie beside them (`_LR`), these are left out and made anew.
        """
        paths = [p for p in image_files(folder) if not p.stem.endswith("_LR")]
        if not paths:
            raise TrainingError(f"There are no images in {folder} to validate on")
        pairs = []
        for path in paths:
            image = read_rgb(path)
            height, width = (side - side % scale for side in image.shape[-2:])
            large = image[:, :height, :width]
            pairs.append((downscale(large, scale), large))
        return cls(pairs, scale)

    @torch.no_grad()
    def measure(self, net: nn.Module) -> float:
        """The mean PSNR in decibels; whole images, fp32."""
        device = next(net.parameters()).device
        values = [psnr_y(net(s[None].to(device))[0].cpu(), large, self.scale) for s, large in self.pairs]
        return float(np.mean(values))


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and the folders in it, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def read_rgb(path: Path) -> Tensor:
    """(3, H, W) in [0, 1], 8 bits."""
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read as an image ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
