"""The size that a header tells is that of the image when it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.images.io import dimensions
from supertile.images.io.dimensions import image_size
from supertile.images.io.errors import ImageFileError
from supertile.images.io.files import read_image


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".gif", ".ppm", ".tga", ".avif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_header_agrees_with_the_pixels(tmp_path, suffix, orientation):
    path = tmp_path / f"image{suffix}"
    image = Image.fromarray(np.zeros((10, 24, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    has_exif = suffix in (".png", ".jpg", ".webp", ".tif", ".avif")
    image.save(path, **({"exif": exif} if has_exif else {}))
    picture = read_image(path)
    assert image_size(path) == (picture.width, picture.height)


def test_pixels_are_read_only_if_the_header_does_not_tell(tmp_path, monkeypatch):
    Image.new("RGB", (24, 10)).save(tmp_path / "a.jpg")
    (tmp_path / "b.pam").write_bytes(
        b"P7\nWIDTH 5\nHEIGHT 3\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n" + b"0" * 15
    )
    assert image_size(tmp_path / "b.pam") == (5, 3)
    monkeypatch.setattr(dimensions, "read_image", lambda path: pytest.fail("read"))
    assert image_size(tmp_path / "a.jpg") == (24, 10)
    Image.new("RGB", (24, 10)).save(tmp_path / "c.png")
    data = (tmp_path / "c.png").read_bytes()
    (tmp_path / "c.png").write_bytes(data[: data.index(b"IDAT") + 6])
    assert image_size(tmp_path / "c.png") == (24, 10)


def test_errors_are_those_of_reading(tmp_path):
    with pytest.raises(ImageFileError, match="does not exist"):
        image_size(tmp_path / "none.png")
    Path(tmp_path / "text.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"text\.png is not an image"):
        image_size(tmp_path / "text.png")
