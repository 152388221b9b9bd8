"""Damaged image files: what can be read is read, with a warning; what cannot is refused in a sentence."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from supertile.images.batch import upscale_image_files
from supertile.images.io.errors import ImageFileError, ImageFileWarning
from supertile.images.io.files import read_image
from supertile.images.jobs import FileJob

from .pictures import Doubler, chunk, chunks_of, doubled, jpeg, noise, png, raw_rows, read, shared


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0"),
        (b"iCCP", b"profile\0\0"),
        (b"iTXt", b"XML:com.adobe.xmp\0"),
        (b"cHRM", bytes(31)),
    ],
)
def test_broken_or_boundless_metadata_is_left_out(tmp_path, kind, start):
    codes = noise(8, 9, 3)
    bomb = zlib.compress(bytes((1 << 26) + 1), 9) if start.endswith(b"\0\0") and kind != b"cHRM" else b""
    picture, said = read(png(codes, beside=chunk(kind, start + bomb)), tmp_path / "a.png")
    np.testing.assert_array_equal(picture.codes(8), codes)
    assert f"has a broken {kind.decode()} chunk, which is left out" in said
    assert (picture.xmp, picture.exif, picture.icc, picture.color_tags.chunks) == (None, None, None, ())


@pytest.mark.parametrize("kind", [b"tEXt", b"iCCP", b"eXIf", b"IHDR", b"IDAT"])
def test_a_wrong_checksum_is_a_warning(tmp_path, kind):
    codes = noise(8, 9, 3)
    beside = b"" if kind in (b"IHDR", b"IDAT") else chunk(kind, b"key\0\0value", wrong=True)
    data = png(codes, beside=beside, wrong=kind)
    said = doubled(data, tmp_path / "a.png", tmp_path / "b.png")
    assert f"wrong checksum in its {kind.decode()} chunk" in said
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[::2, ::2], codes)
    assert {name for name, _ in chunks_of(tmp_path / "b.png")} == {b"IHDR", b"IDAT", b"IEND"}


def test_a_wrong_checksum_inside_the_compressed_pixels(tmp_path):
    codes = noise(8, 9, 3)
    compressed = bytearray(zlib.compress(raw_rows(codes, 8)))
    compressed[-1] ^= 1
    picture, said = read(png(codes, compressed=bytes(compressed)), tmp_path / "a.png")
    assert "wrong checksum over its pixels" in said
    np.testing.assert_array_equal(picture.codes(8), codes)


@pytest.mark.parametrize(("rows", "complete"), [(100, True), (99, False), (20, False)])
def test_missing_rows_of_a_png(tmp_path, rows, complete):
    codes = noise(100, 9, 3)
    picture, said = read(png(codes, rows=raw_rows(codes[:rows], 8)), tmp_path / "a.png")
    assert picture.is_complete == complete
    assert ("missing" in said) == (not complete)
    np.testing.assert_array_equal(picture.codes(8)[:rows], codes[:rows])


def test_a_black_last_row_is_no_damage(tmp_path):
    codes = noise(10, 9, 3)
    codes[-1] = 0
    picture, said = read(png(codes), tmp_path / "a.png")
    assert picture.is_complete
    assert said == ""


@pytest.mark.parametrize("cut", [1, 4, 12, 16, 40])
def test_a_png_that_lacks_its_end(tmp_path, cut):
    codes = noise(100, 9, 3)
    picture, said = read(png(codes)[:-cut], tmp_path / "a.png")
    assert not picture.is_complete
    assert "early" in said or "missing" in said
    np.testing.assert_array_equal(picture.codes(8)[:95], codes[:95])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_end(tmp_path, progressive):
    data = jpeg(progressive=progressive)
    whole, _ = read(data, tmp_path / "whole.jpg")
    picture, said = read(data[:-2], tmp_path / "a.jpg")
    assert not picture.is_complete
    assert "ends early" in said
    assert (picture.color - whole.color).abs().max() < 0.02
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageFileError, match="damaged or incomplete"):
        read_image(tmp_path / "half.jpg")


def test_an_outcome_tells_that_a_source_ended_early(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(jpeg()[:-2])
    (tmp_path / "whole.jpg").write_bytes(jpeg())
    jobs = [FileJob(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png") for name in ("cut", "whole")]
    with pytest.warns(ImageFileWarning, match="ends early"):
        outcomes = list(upscale_image_files(jobs, Doubler()))
    assert [outcome.complete for outcome in outcomes] == [False, True]
    assert [outcome.error for outcome in outcomes] == [None, None]


@pytest.mark.parametrize("name", ["more/cut_color.avif", "more/unimplemented_dxgi_format.dds"])
def test_whatever_a_reader_raises_is_one_sentence(name):
    path = shared(name)
    with pytest.raises(ImageFileError) as refused:
        read_image(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_exception_of_any_kind_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "a.bmp").write_bytes(b"BM" + bytes(60))

    def fail(*_: object) -> None:
        raise RuntimeError("first line\nsecond line.")

    monkeypatch.setitem(Image.OPEN, "BMP", (fail, lambda prefix: prefix[:2] == b"BM"))
    with pytest.raises(ImageFileError, match=r"a\.bmp is damaged or incomplete: first line second line\.$"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.parametrize(
    "name", ["exif_short.png", "exif_no_tiff.webp", "exif_gps.jpg", "issue412.jp2", "icc_tag_int.tif"]
)
def test_broken_metadata_is_left_out(tmp_path, name):
    said = doubled(shared(f"more/{name}").read_bytes(), tmp_path / name, tmp_path / "b.png")
    assert "left out" in said
    sizes = {"exif_gps.jpg": (16, 16), "issue412.jp2": (512, 200), "icc_tag_int.tif": (40, 48)}
    assert Image.open(tmp_path / "b.png").size == sizes.get(name, (32, 32))


@pytest.mark.parametrize("exif", [b"", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"garbage", b"II*\0\x08\0\0\0\xff\xff"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_broken_exif_beside_good_pixels(tmp_path, exif, suffix):
    codes = noise(8, 8, 3)
    if suffix == ".png":
        data = png(codes, beside=chunk(b"eXIf", exif))
    else:
        file = io.BytesIO()
        Image.fromarray(codes).save(file, suffix[1:].replace("jpg", "jpeg"), exif=b"Exif\0\0" + exif)
        data = file.getvalue()
    doubled(data, tmp_path / f"a{suffix}", tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").size == (16, 16)


@pytest.mark.parametrize("format", ["TIFF", "AVIF", "WEBP", "GIF"])
def test_a_cut_file_is_called_damaged_and_not_unknown(tmp_path, format):
    file = io.BytesIO()
    Image.fromarray(noise(60, 50, 3)).save(file, format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "a.img").write_bytes(file.getvalue()[: int(share * len(file.getvalue()))])
        with pytest.raises(ImageFileError, match=r"a\.img is damaged"):
            read_image(tmp_path / "a.img")


def test_an_unsupported_bmp_is_not_called_damaged(tmp_path):
    path = tmp_path / "a.bmp"
    Image.new("RGB", (4, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[28] = 2  # bits per pixel
    path.write_bytes(data)
    with pytest.raises(ImageFileError, match=r"cannot be read: Unsupported BMP pixel depth"):
        read_image(path)
