"""HEIC, JPEG XL and AVIF: read, written, and named where their library is missing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import torch
from supertile.images.io.errors import ImageFileError
from supertile.images.io.files import read_image, write_image
from supertile.images.io.jxl_boxes import read_xmp
from supertile.images.io.picture import Picture


def test_heic_at_its_full_depth(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    y, x = np.mgrid[:48, :64]
    codes = np.stack([x * 1000, y * 1300, x * 300 + y * 300], axis=2).astype(np.uint16)
    pillow_heif.from_bytes("RGB;16", (64, 48), codes.tobytes()).save(tmp_path / "a.heic", quality=-1, chroma=444)
    picture = read_image(tmp_path / "a.heic")
    assert picture.bit_depth == 16
    np.testing.assert_allclose(picture.color.permute(1, 2, 0), codes / 65535, atol=0.005)


def test_heic_and_jpeg_xl_without_their_libraries(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(100))
    with pytest.raises(ImageFileError, match=r"a\.heic is a HEIC file.*pillow-heif"):
        read_image(tmp_path / "a.heic")


def test_xmp_of_jpeg_xl():
    container, codestream = b"\0\0\0\x0cJXL \r\n\x87\n", struct.pack(">I4s", 12, b"jxlc") + bytes(4)
    large = struct.pack(">I4sQ", 1, b"jxlp", 20) + bytes(4)
    for box in (
        struct.pack(">I4s", 13, b"xml "),
        struct.pack(">I4s", 0, b"xml "),
        struct.pack(">I4sQ", 1, b"xml ", 21),
    ):
        assert read_xmp(io.BytesIO(container + codestream + large + box + b"<xmp>")) == (b"<xmp>", False)
    compressed = struct.pack(">I4s4s", 20, b"brob", b"xml ") + bytes(8)
    assert read_xmp(io.BytesIO(container + compressed)) == (None, True)
    for data in (b"\xff\x0a" + bytes(40), container, container + codestream, container + bytes(40)):
        assert read_xmp(io.BytesIO(data)) == (None, False)


def test_jpeg_xl_keeps_xmp(tmp_path):
    pytest.importorskip("pillow_jxl")
    write_image(tmp_path / "a.jxl", Picture(torch.rand(3, 8, 9), xmp=b"<x:xmpmeta/>"))
    assert read_image(tmp_path / "a.jxl").xmp == b"<x:xmpmeta/>"


@pytest.mark.parametrize("suffix", [".avif", ".jxl"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_and_jpeg_xl_as_targets(tmp_path, suffix, channels):
    if suffix == ".jxl":
        pytest.importorskip("pillow_jxl")
    planes = torch.linspace(0, 1, 64).expand(channels, 48, 64).clone()
    picture = Picture(planes[:3], planes[3:] if channels == 4 else None)
    write_image(tmp_path / f"a{suffix}", picture)
    again = read_image(tmp_path / f"a{suffix}")
    assert (again.color - planes[:1]).abs().max() < 0.02
    assert (again.alpha is None) == (channels < 4)
