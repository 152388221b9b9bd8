"""A small real network in a real Upscaler, an enlarger with a known result, and a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.inference.finish import Finish
from supertile.tests.conftest import write_small_vapsr
from torch import Tensor


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VapSR x2 that has learned nothing: its images are noise, but of the right size."""
    return Path(write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors"))


@pytest.fixture
def upscaler(model_file: Path):
    from supertile.inference.upscaler import Upscaler
    from supertile.weights.loader import load_model

    return Upscaler(load_model(model_file), device="cpu")


class Bicubic:
    """The part of an Upscaler that `upscale_image` uses, with plain interpolation instead of a network."""

    seamless, finish = "none", Finish()

    def __init__(self, scale: int, channels: int = 3) -> None:
        self.scale, self.input_channels = scale, channels
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images)

    def for_depth(self, bits: int) -> Bicubic:
        return self

    def network(self, images: Tensor, *, again: bool = False, mask: None = None, **host: object) -> Tensor:
        assert images.shape[1] == self.input_channels
        self.calls.append(tuple(images.shape))
        return torch.nn.functional.interpolate(images, scale_factor=self.scale, mode="bicubic").clamp(0, 1)


@pytest.fixture
def bicubic():
    return Bicubic


@pytest.fixture
def make_image():
    """Return a function that writes an image file of noise, and its folder."""

    def make(path: Path, size: tuple[int, int] = (10, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        codes = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(codes).save(path)
        return path

    return make


@pytest.fixture
def folder(tmp_path, make_image):
    for name in ("in/b.jpg", "in/a.png", "in/deep/er/c.bmp", "in/.hidden.png", "in/.cache/d.png"):
        make_image(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path
