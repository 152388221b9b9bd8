"""TIFF files of unusual depths, in separate planes, of several pages."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from supertile.images.io.errors import ImageFileError, ImageFileWarning
from supertile.images.io.files import read_image

from .pictures import noise, read, shared, tiff


def test_gray_tiff_of_twelve_bits_is_scaled_by_its_own_depth(tmp_path):
    codes = noise(4, 6, 1, 12)
    picture, _ = read(tiff(codes, 12), tmp_path / "a.tif")
    assert picture.bit_depth == 16
    np.testing.assert_allclose(picture.color[0], codes[..., 0] / 4095, atol=1e-5)
    real, _ = read(shared("more/12bit.cropped.tif").read_bytes(), tmp_path / "b.tif")
    assert real.color.mean() > 0.0005


def test_gray_tiff_in_which_zero_is_white(tmp_path):
    codes = noise(4, 6, 1, 16)
    picture, _ = read(tiff(codes, 16, photometric=0), tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.codes(16), 65535 - codes)


def joined_planes(codes: np.ndarray, extra: int | None, **options: object) -> bytes:
    """A planar TIFF made of the strips or tiles of one gray TIFF for each channel, which Pillow has written."""
    height, width, channels = codes.shape
    data, offsets, counts, layout = b"II*\0" + bytes(4), [], [], {}
    for channel in range(channels):
        file = io.BytesIO()
        Image.fromarray(codes[..., channel]).save(file, "TIFF", **options)
        with Image.open(file) as image:
            tags = image.tag_v2
            for offset, count in zip(tags[273], tags[279], strict=True):
                offsets.append(len(data))
                counts.append(count)
                data += file.getvalue()[offset : offset + count]
            layout = {tag: [int(tags[tag])] for tag in (259, 278, 317) if tag in tags}
    bits = codes.itemsize * 8
    tags = layout | {256: [width], 257: [height], 258: [bits] * channels, 262: [2], 273: offsets, 277: [channels],
                     279: counts, 284: [2], 274: [6]}  # fmt: skip
    if extra is not None:
        tags[338] = [extra]
    start, tail, entries = len(data), b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            packed, tail = struct.pack("<I", start + len(tail)), tail + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return data[:4] + struct.pack("<I", start + len(tail)) + data[8:] + tail + directory


@pytest.mark.parametrize("compression", ["raw", "tiff_deflate", "tiff_lzw", "packbits"])
@pytest.mark.parametrize(("channels", "extra"), [(3, None), (4, 2), (4, 1), (4, 0)])
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_in_separate_planes_is_exact(tmp_path, compression, channels, extra, depth):
    if (compression, extra, depth) == ("raw", 0, 8):
        pytest.skip("Pillow does not open this layout")
    codes = noise(50, 61, channels, depth)
    if extra == 1:
        codes[..., :3] = codes[..., :3].astype(np.uint64) * codes[..., 3:] // (2**depth - 1)
    options = {"compression": compression, "strip_size": 1500}
    if compression in ("tiff_deflate", "tiff_lzw"):
        options["tiffinfo"] = {317: 2}
    picture, _ = read(joined_planes(codes, extra, **options), tmp_path / "a.tif")
    turned = np.rot90(codes, -1)  # the orientation is 6
    assert picture.bit_depth == depth
    if extra == 1:
        alpha = turned[..., 3:].astype(float)
        straight = turned[..., :3] * ((2**depth - 1) / np.maximum(alpha, 1))
        np.testing.assert_allclose(picture.codes(depth)[..., :3], straight, atol=1)
    else:
        np.testing.assert_array_equal(picture.codes(depth), turned[..., : 3 if extra == 0 else channels])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_uncompressed_planes_of_either_byte_order(tmp_path, channels, order):
    codes = noise(4, 6, channels, 16)
    extra = {338: [2]} if channels == 4 else {}
    data = tiff(codes, 16, photometric=2, planar=2, order=order, extra=tuple(extra.items()))
    picture, _ = read(data, tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.codes(16), codes)


def test_planes_of_twelve_bits_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(noise(4, 6, 3, 12), 12, photometric=2, planar=2))
    with pytest.raises(ImageFileError, match=r"a\.tif "):
        read_image(tmp_path / "a.tif")


def test_a_stack_of_pages_and_floats_are_named(tmp_path):
    pages = [Image.new("L", (4, 4), value) for value in (10, 20, 30)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(ImageFileWarning, match="3 pages; only the first"):
        read_image(tmp_path / "a.tif")
    Image.new("F", (3, 3)).save(tmp_path / "b.tif")
    with pytest.raises(ImageFileError, match="floating-point"):
        read_image(tmp_path / "b.tif")
