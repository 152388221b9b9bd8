"""Cropping of an enlarged image and bars beside it, in memory and in files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.images.framing import Framing
from supertile.images.io.picture import Picture
from supertile.images.upscale import upscale_image, upscale_image_file


def ramp(width: int, height: int, channels: int = 3) -> torch.Tensor:
    return (torch.arange(channels * height * width) / (channels * height * width)).view(channels, height, width)


@pytest.mark.parametrize(
    ("size", "offset"), [((4, 8), (-2, 1)), ((12, 3), (2, -2)), ((5, 5), (-2, -1)), ((9, 9), (0, 1))]
)
def test_the_image_lies_in_the_center(size, offset):
    image = ramp(8, 6)
    framing = Framing(size, (8, 6))
    result, alpha = framing.place(image, None)
    assert framing.offset == offset
    assert alpha is None
    assert result.shape == (3, size[1], size[0])
    expected = torch.zeros(3, size[1], size[0])
    for y in range(size[1]):
        for x in range(size[0]):
            from_x, from_y = x - offset[0], y - offset[1]
            if 0 <= from_x < 8 and 0 <= from_y < 6:
                expected[:, y, x] = image[:, from_y, from_x]
    assert torch.equal(result, expected)


def test_bars_are_transparent_beside_alpha_unless_they_have_a_color():
    image, alpha = ramp(4, 4), torch.full((1, 4, 4), 0.5)
    color, clear = Framing((6, 4), (4, 4)).place(image, alpha)
    assert clear[0, :, 0].tolist() == clear[0, :, 5].tolist() == [0.0] * 4
    assert float(color[:, :, 0].max()) == 0
    color, opaque = Framing((6, 4), (4, 4), (1.0, 0.5, 0.0)).place(image, alpha)
    assert opaque[0, 0].tolist() == [1.0, 0.5, 0.5, 0.5, 0.5, 1.0]
    assert color[:, 0, 0].tolist() == [1.0, 0.5, 0.0]


def test_gray_gets_gray_bars():
    color, _ = Framing((6, 4), (4, 4), (1.0, 0.0, 0.0)).place(ramp(4, 4, 1), None)
    assert color.shape == (1, 4, 6)
    assert float(color[0, 0, 0]) == pytest.approx(0.299)


def test_cropping_and_bars_leave_every_other_pixel_as_it_is(bicubic):
    picture = Picture(torch.rand(3, 6, 8))
    whole = upscale_image(picture, bicubic(4), size="16x12").color
    filled = upscale_image(picture, bicubic(4), size="fill:12x12").color
    padded = upscale_image(picture, bicubic(4), size="pad:16x20").color
    assert torch.equal(filled, whole[:, :, 2:14])
    assert torch.equal(padded[:, 4:16], whole)
    assert float(padded[:, :4].max()) == float(padded[:, 16:].max()) == 0


@pytest.mark.parametrize(
    ("mode", "suffix", "size", "bar"),
    [
        ("RGB", ".png", "pad:40x60", (0, 0, 0)),
        ("RGB", ".png", "pad:40x60:white", (255, 255, 255)),
        ("RGB", ".jpg", "pad:40x60:336699", (0x33, 0x66, 0x99)),
        ("RGBA", ".png", "pad:40x60", (0, 0, 0, 0)),
        ("RGBA", ".webp", "pad:40x60", (0, 0, 0, 0)),
        ("RGBA", ".png", "pad:40x60:#336699", (0x33, 0x66, 0x99, 255)),
        ("RGBA", ".jpg", "pad:40x60", (0, 0, 0)),
        ("L", ".png", "pad:40x60:white", 255),
        ("LA", ".png", "pad:40x60", (0, 0)),
    ],
)
def test_bars_in_files(tmp_path, upscaler, mode, suffix, size, bar):
    Image.new(mode, (10, 10), {"L": 90, "LA": (90, 128)}.get(mode, (200, 80, 40, 128)[: len(mode)])).save(
        tmp_path / "in.png"
    )
    upscale_image_file(tmp_path / "in.png", tmp_path / f"out{suffix}", upscaler, size=size, quality=100)
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
        assert image.size == (40, 60)
        for y in (0, 8, 51, 59):
            assert np.abs(np.subtract(image.getpixel((20, y)), bar)).max() <= 2, y
        inside = image.getpixel((20, 30))
        assert np.abs(np.subtract(inside, bar)).max() > 2
