"""Images of unusual depths, orders and sizes keep their pixels."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from supertile.images.io.errors import ImageFileError
from supertile.images.io.files import read_image

from .pictures import RNG, SIGNATURE, chunk, jpeg, noise, png, raw_rows, read


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("junk", [0, 0xFF00])
def test_a_transparent_color_counts_in_the_bits_of_the_image(tmp_path, depth, channels, junk):
    if channels == 3 and depth < 8:
        pytest.skip("no such PNG")
    codes = noise(9, 13, channels, depth)
    key = [int(value) | (junk if depth <= 8 else 0) for value in codes[2, 3]]
    beside = chunk(b"tRNS", struct.pack(f">{channels}H", *key))
    picture, _ = read(png(codes, depth=depth, beside=beside), tmp_path / "a.png")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha[0] > 0, (codes != codes[2, 3]).any(axis=2))
    np.testing.assert_allclose(picture.color.permute(1, 2, 0), codes / (2**depth - 1), atol=1e-6)


@pytest.mark.parametrize("channels", [3, 4])
def test_an_animated_png_of_sixteen_bits_keeps_the_low_byte(tmp_path, channels):
    codes = noise(6, 7, channels, 16)
    frame = struct.pack(">IIIIIHHBB", 0, 7, 6, 0, 0, 1, 10, 0, 0)
    beside = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", frame)
    picture, said = read(png(codes, depth=16, beside=beside), tmp_path / "a.png")
    assert "2 frames" in said
    np.testing.assert_array_equal(picture.codes(16), codes)


@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3), (b"P2", 1), (b"P3", 3), (b"P7", 4), (b"P7", 2)])
@pytest.mark.parametrize("maximum", [255, 1023, 4095, 65535])
def test_pixmaps_keep_their_depth(tmp_path, kind, channels, maximum):
    codes = RNG.integers(0, maximum + 1, (5, 4, channels))
    header = b"%s\n# made here\n4 5\n%d\n" % (kind, maximum)
    if kind == b"P7":
        header = b"P7\nWIDTH 4\nHEIGHT 5\nDEPTH %d\nMAXVAL %d\nTUPLTYPE X\nENDHDR\n" % (channels, maximum)
    body = codes.astype("u1" if maximum < 256 else ">u2").tobytes()
    if kind in (b"P2", b"P3"):
        body = b" ".join(b"%d" % value for value in codes.ravel())
    picture, _ = read(header + body, tmp_path / "a.ppm")
    assert picture.bit_depth == (8 if maximum < 256 else 16)
    planes = picture.color if picture.alpha is None else torch.cat([picture.color, picture.alpha])
    np.testing.assert_allclose(
        planes.permute(1, 2, 0), codes / maximum, atol=0.5001 / (255 if maximum < 256 else 65535)
    )
    (tmp_path / "cut.ppm").write_bytes((header + body)[:-3])
    if kind not in (b"P2", b"P3"):
        with pytest.raises(ImageFileError, match=r"cut\.ppm is damaged or incomplete"):
            read_image(tmp_path / "cut.ppm")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_interlaced_png_of_sixteen_bits(tmp_path, channels):
    codes = noise(13, 19, channels, 16)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(raw_rows(part, 16) for x, y, dx, dy in passes if (part := codes[y::dy, x::dx]).size)
    header = struct.pack(">IIBBBBB", 19, 13, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 1)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    picture, said = read(data, tmp_path / "a.png")
    np.testing.assert_array_equal(picture.codes(16), codes)
    assert said == ""


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_any_orientation_in_any_format(tmp_path, format, orientation):
    """Against Pillow's own turning, of a picture whose corners differ."""
    y, x = np.mgrid[:32, :48]
    image = Image.fromarray(np.stack([x * 5, y * 7, 128 + 0 * x], axis=2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.get(format, {"quality": 100})
    image.save(tmp_path / "a.img", format, exif=exif, **options)
    exif[0x0112] = orientation  # which Pillow's writer of AVIF takes out
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    picture = read_image(tmp_path / "a.img")
    codes = picture.codes(8).astype(int)
    assert codes.shape == expected.shape
    assert np.abs(codes - expected).max() <= (0 if format in ("PNG", "TIFF", "WEBP") else 12)
    if picture.exif is not None:
        kept = Image.Exif()
        kept.load(picture.exif)
        assert kept.get(0x0112, 1) == 1


@pytest.mark.parametrize("depth", [8, 24, 32])
def test_runs_of_a_tga_that_go_on_in_the_next_row(tmp_path, depth):
    channels = depth // 8
    codes = noise(5, 4, channels)
    codes.reshape(-1, channels)[2:9] = codes.reshape(-1, channels)[2]
    flat = codes[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]].reshape(-1, channels)  # stored as BGRA
    header = struct.pack("<BBBHHBHHHHBB", 3, 0, 11 if depth == 8 else 10, 0, 0, 0, 0, 0, 4, 5, depth, 0x20)
    packets = b"\x01" + flat[:2].tobytes() + b"\x86" + flat[2].tobytes() + b"\x0a" + flat[9:].tobytes()
    path = tmp_path / "a.tga"
    path.write_bytes(header + b"id!" + packets)
    assert np.array_equal(read_image(path).codes(8), codes)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ImageFileError):
        read_image(path)


def test_no_limit_in_pixels_but_one_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    codes = noise(20, 20, 3)
    picture, said = read(png(codes), tmp_path / "a.png")
    np.testing.assert_array_equal(picture.codes(8), codes)
    assert said == ""
    header = struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(ImageFileError, match=r"1048576x1048576 pixels, which take .* GiB of memory"):
        read_image(tmp_path / "bomb.png")


def test_an_image_far_too_short_for_its_size_takes_no_memory(tmp_path, monkeypatch):
    """1 GB for 40 bytes of pixels, and for what a decoder of JPEG makes of none."""
    header = struct.pack(">IIBBBBB", 9000, 9000, 16, 6, 0, 0, 0)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    small = jpeg()
    at = small.index(b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(small[:at] + struct.pack(">HH", 9000, 9000) + small[at + 4 :])
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("pixels are decoded"))
    for name in ("a.png", "a.jpg"):
        with pytest.raises(ImageFileError, match="far too short for the size that it declares"):
            read_image(tmp_path / name)


def test_the_most_that_formats_can_compress_is_read(tmp_path):
    """Deflate: 1032 to 1; Huffman's codes: one bit for each block."""
    flat = np.zeros((2000, 2000, 1), np.uint8)
    picture, said = read(png(flat, compressed=zlib.compress(raw_rows(flat, 8), 9)), tmp_path / "a.png")
    assert (picture.width, said) == (2000, "")
    Image.fromarray(flat[..., 0]).save(tmp_path / "a.jpg", quality=1, optimize=True)
    assert (tmp_path / "a.jpg").stat().st_size < 2000 * 2000 / 200
    assert read_image(tmp_path / "a.jpg").width == 2000
