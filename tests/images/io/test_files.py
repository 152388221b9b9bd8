"""Reading and writing image files: exact pixels, what is kept, what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from supertile.images.io.errors import ImageFileError, ImageFileWarning
from supertile.images.io.files import read_image, write_image
from supertile.images.io.picture import Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
CMYK_PROFILE = SRGB[:16] + b"CMYK" + SRGB[20:]


def noise(height: int, width: int, channels: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels))
    return codes.astype(dtype)


def image_of(codes: np.ndarray, **kept) -> Picture:
    planes = Picture.planes(codes)
    has_alpha = codes.shape[2] in (2, 4)
    return Picture(
        planes[:-1] if has_alpha else planes,
        planes[-1:] if has_alpha else None,
        8 if codes.dtype == np.uint8 else 16,
        **kept,
    )


def png16(codes: np.ndarray, *, interlaced: bool = False, transparent: tuple[int, ...] | None = None) -> bytes:
    """A 16-bit PNG by the book: no filters, so that nothing is shared with the writer under test."""
    height, width, channels = codes.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [codes[top::down, left::right] for top, left, down, right in passes]
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, interlaced)
    key = chunk(b"tRNS", struct.pack(f">{channels}H", *transparent)) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


# Reading


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_eight_bit_pixels_are_exact(tmp_path, mode, suffix):
    channels = len(mode)
    codes = noise(9, 14, channels)
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(codes[..., 0] if channels == 1 else codes, mode).save(path, **options)
    picture = read_image(path)
    expected = np.asarray(Image.open(path).convert("RGBA" if mode[-1] == "A" else "RGB"))
    got = picture.codes(8)
    if picture.is_gray:
        assert suffix != ".webp"
        got = got[..., [0, 0, 0, *range(1, got.shape[2])]]
    else:
        assert mode.startswith("RGB") or suffix == ".webp"
    np.testing.assert_array_equal(got, expected)
    assert picture.bit_depth == 8
    assert picture.color.dtype == torch.float32


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_is_exact(tmp_path, channels, interlaced):
    codes = noise(13, 11, channels, np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png16(codes, interlaced=interlaced))
    picture = read_image(path)
    assert picture.bit_depth == 16
    np.testing.assert_array_equal(picture.codes(16), codes)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("channels", "extra"), [(3, None), (4, 2), (4, 1), (4, 0)])
def test_sixteen_bit_tiff_in_either_byte_order(tmp_path, channels, extra, big_endian):
    """extra: the fourth sample is unspecified (0), premultiplied alpha (1) or straight alpha (2)."""
    codes = noise(6, 5, channels, np.uint16)
    straight = codes
    if extra == 1:
        codes[..., 3] = np.maximum(codes[..., 3], 20000)
        codes[..., :3] = np.minimum(codes[..., :3], codes[..., 3:])
        straight = codes.copy()
        straight[..., :3] = np.round(codes[..., :3] * 65535.0 / codes[..., 3:])
    order = ">" if big_endian else "<"
    tags = [(256, 5), (257, 6), (259, 1), (262, 2), (273, 8), (277, channels), (278, 6), (279, codes.nbytes)]
    if extra is not None:
        tags.append((338, extra))
    data = codes.astype(order + "u2").tobytes()
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    entries = [struct.pack(order + "HHIHxx", tag, 3, 1, value) for tag, value in tags]
    entries.append(struct.pack(order + "HHII", 258, 3, channels, 8 + len(data)))
    entries.sort(key=lambda entry: struct.unpack(order + "H", entry[:2]))
    start = 8 + len(data) + len(bits)
    header = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", start)
    path = tmp_path / "a.tif"
    path.write_bytes(header + data + bits + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4))
    picture = read_image(path)
    assert picture.bit_depth == 16
    np.testing.assert_array_equal(picture.codes(16), straight[..., :3] if extra == 0 else straight)


def test_a_color_key_makes_one_sixteen_bit_color_transparent(tmp_path):
    codes = noise(4, 4, 3, np.uint16)
    codes[1, 2] = codes[0, 0]
    codes[3, 3] = codes[0, 0] ^ 1  # differs in the lowest bit only: 8 bits could not tell
    path = tmp_path / "a.png"
    path.write_bytes(png16(codes, transparent=tuple(codes[0, 0])))
    alpha = read_image(path).alpha
    expected = np.ones((1, 4, 4))
    expected[0, 0, 0] = expected[0, 1, 2] = 0
    np.testing.assert_array_equal(alpha, expected)


def test_palettes_become_color_and_their_transparency_alpha(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "a.png", transparency=bytes([255, 128, 0]))
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.codes(8)[0], [[255, 0, 0, 255], [0, 255, 0, 128], [0, 0, 255, 0]])
    image.save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").alpha is None
    image.save(tmp_path / "c.gif", transparency=1)
    np.testing.assert_array_equal(read_image(tmp_path / "c.gif").codes(8)[0, :, 3], [255, 0, 255])


def test_one_bit_images_are_gray(tmp_path):
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    assert picture.is_gray
    np.testing.assert_array_equal(picture.codes(8)[0, :, 0], [0, 255])


def test_sixteen_bit_pgm(tmp_path):
    codes = noise(3, 4, 1, np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 4 3 65535\n" + codes.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.pgm").codes(16), codes)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied_and_reset(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(5, 8, 3)).save(path, exif=exif, dpi=(72, 144))
    picture = read_image(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(picture.codes(8), expected)

    write_image(tmp_path / f"b{suffix}", picture)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.size == (expected.shape[1], expected.shape[0])
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "Maker"
        if suffix == ".jpg":  # the resolutions turn with the pixels
            assert image.info["dpi"] == ((144, 72) if orientation >= 5 else (72, 144))


def test_exif_keeps_its_bytes_but_gets_the_new_size_and_loses_the_thumbnail(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    details = exif.get_ifd(0x8769)
    details[0xA002], details[0xA003] = 8, 5
    details[0x927C] = b"maker note with offsets of its own"
    Image.fromarray(noise(5, 8, 3)).save(tmp_path / "a.jpg", exif=exif)
    picture = read_image(tmp_path / "a.jpg")
    picture.color = torch.zeros(3, 70000, 20)  # more than a SHORT holds
    write_image(tmp_path / "b.png", picture)
    with Image.open(tmp_path / "b.png") as image:
        found = image.getexif().get_ifd(0x8769)
        assert (found[0xA002], found[0xA003]) == (20, 70000)
        assert found[0x927C] == details[0x927C]
    changed = sum(a != b for a, b in zip(picture.exif, exif.tobytes(), strict=True))
    assert 0 < changed <= 6


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
def test_icc_profile_and_resolution_survive(tmp_path, suffix, depth):
    codes = noise(4, 6, 3, np.uint8 if depth == 8 else np.uint16)
    write_image(tmp_path / f"a{suffix}", image_of(codes, icc=SRGB, dpi=(300.0, 200.0)))
    picture = read_image(tmp_path / f"a{suffix}")
    assert picture.icc == SRGB
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.info["icc_profile"] == SRGB
    if suffix != ".webp":
        assert picture.dpi == pytest.approx((300, 200), abs=0.01)


def test_profiles_stay_with_their_kind_of_pixels(tmp_path):
    write_image(tmp_path / "gray.png", image_of(noise(4, 4, 1), icc=GRAY_PROFILE))
    assert read_image(tmp_path / "gray.png").icc == GRAY_PROFILE
    with pytest.warns(ImageFileWarning, match="profile"):
        write_image(tmp_path / "wrong.png", image_of(noise(4, 4, 3), icc=GRAY_PROFILE))
    assert read_image(tmp_path / "wrong.png").icc is None


def test_cmyk_becomes_rgb_without_the_cmyk_profile(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", icc_profile=CMYK_PROFILE, quality=100)
    picture = read_image(tmp_path / "a.jpg")
    assert picture.icc is None
    red, green, blue = picture.color.mean((1, 2))
    assert red > 0.9
    assert max(green, blue) < 0.1


def test_lab_is_converted_through_its_profile(tmp_path):
    rgb = Image.new("RGB", (4, 4), (200, 60, 120))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(rgb, to_lab).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif").codes(8)[0, 0], [200, 60, 120], atol=2)


# What is refused


def test_animations_give_their_first_frame_and_a_warning(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(ImageFileWarning, match="2 frames"):
        picture = read_image(tmp_path / "a.gif")
    np.testing.assert_array_equal(picture.codes(8)[0, 0], [255, 0, 0])


def refusal(path: Path) -> str:
    with pytest.raises(ImageFileError) as refused:
        read_image(path)
    sentence = str(refused.value)
    assert path.name in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(40, 40, 3)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refusal(path)


def test_damaged_sixteen_bit_png(tmp_path):
    data = bytearray(png16(noise(20, 20, 3, np.uint16)))
    data[200:300] = bytes(100)
    (tmp_path / "a.png").write_bytes(data)
    refusal(tmp_path / "a.png")


def test_what_is_not_there_or_no_image(tmp_path, monkeypatch):
    assert "does not exist" in refusal(tmp_path / "none.png")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "text.png").write_text("Once upon a time")
    assert "not an image" in refusal(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    assert "not an image" in refusal(tmp_path / "empty.png")
    Image.new("L", (3, 3)).save(tmp_path / "a.eps")  # would start Ghostscript
    assert "not an image" in refusal(tmp_path / "a.eps")
    Image.new("F", (3, 3)).save(tmp_path / "float.tif")
    assert "floating-point" in refusal(tmp_path / "float.tif")
    Image.new("I", (3, 3)).save(tmp_path / "integer.tif")
    assert "32-bit" in refusal(tmp_path / "integer.tif")
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's limit in pixels is not ours, memory is
    read_image(tmp_path / "bomb.png")
    monkeypatch.setattr("supertile.images.io.opening._PIXELS_WITHOUT_CHECK", 100)
    monkeypatch.setattr("supertile.images.io.opening.free_memory", lambda: 10_000)
    assert "memory" in refusal(tmp_path / "bomb.png")


# Writing


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_pixels_are_exact(tmp_path, suffix, channels, dtype):
    codes = noise(150, 31, channels, dtype)  # several blocks of rows, an odd number of bytes
    codes[:40] = np.arange(31, dtype=dtype)[:, None] * 5  # and rows that filters make small
    path = tmp_path / f"a{suffix}"
    write_image(path, image_of(codes))
    picture = read_image(path)
    got = picture.codes(picture.bit_depth)
    assert got.dtype == dtype
    if (suffix, channels, dtype) == (".tif", 2, np.uint16):  # written as RGBA, which others can open
        got = got[..., 2:]
    np.testing.assert_array_equal(got, codes)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("channels", "layout"), [(1, "gray16"), (3, "rgb48"), (4, "rgba64")])
def test_ffmpeg_reads_the_same_sixteen_bits(tmp_path, suffix, channels, layout):
    codes = noise(70, 33, channels, np.uint16)
    write_image(tmp_path / f"a{suffix}", image_of(codes))
    with av.open(tmp_path / f"a{suffix}") as container:
        frame = next(container.decode(video=0))
    assert frame.format.name.startswith(layout)
    np.testing.assert_array_equal(frame.to_ndarray().reshape(codes.shape), codes)


def test_values_are_rounded_to_nearest_and_clamped(tmp_path):
    color = torch.tensor([-0.5, 0.49 / 255, 0.51 / 255, 254.49 / 255, 254.51 / 255, 7.0]).view(1, 1, 6)
    write_image(tmp_path / "a.png", Picture(color))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").codes(8)[0, :, 0], [0, 0, 1, 254, 255, 255])


def test_gray_stays_gray_in_jpeg_and_sixteen_bits_become_eight(tmp_path):
    write_image(tmp_path / "a.jpg", image_of(np.full((8, 8, 1), 0x8180, np.uint16)))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.is_gray
    assert picture.bit_depth == 8
    np.testing.assert_array_equal(picture.codes(8), 129)


def test_jpeg_lays_transparency_on_white_and_says_so(tmp_path):
    with pytest.warns(ImageFileWarning, match="white"):
        write_image(tmp_path / "a.jpg", Picture(torch.zeros(3, 8, 8), torch.zeros(1, 8, 8)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").codes(8), 255)


def test_quality_and_formats(tmp_path):
    picture = image_of(noise(32, 32, 3))
    write_image(tmp_path / "low.jpg", picture, quality=30)
    write_image(tmp_path / "high.jpg", picture, quality=95)
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size
    write_image(tmp_path / "a.webp", picture, quality=100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").codes(8), picture.codes(8))
    write_image(tmp_path / "noname", picture, format="TIFF")
    assert Image.open(tmp_path / "noname").format == "TIFF"
    with pytest.raises(ImageFileError, match=r"bmp.*png, jpg, webp, tiff, avif or jxl"):
        write_image(tmp_path / "a.bmp", picture)
    with pytest.raises(ImageFileError, match="16383"):
        write_image(tmp_path / "wide.webp", Picture(torch.zeros(1, 1, 20000)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "high.jpg", "low.jpg", "noname"]
