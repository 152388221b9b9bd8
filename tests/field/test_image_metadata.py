"""Text, profiles and color tags of images are kept, or named where they cannot be."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms, IptcImagePlugin, PngImagePlugin
from supertile.images.io.errors import ImageFileWarning
from supertile.images.io.files import read_image, write_image

from .pictures import chunk, chunks_of, doubled, jpeg, noise, png, read, shared, tiff, with_tag


def test_text_of_a_png_stays_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 20)
    text = [
        (b"tEXt", b"parameters\0a cat, Steps: 20"),
        (b"zTXt", b"workflow\0\0" + zlib.compress(b'{"nodes": []}' * 100_000)),
        (b"iTXt", b"Title\0\0\0de\0\0" + "Käfer".encode()),
    ]
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    beside = b"".join(chunk(*each) for each in text) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    for depth in (8, 16):
        said = doubled(png(noise(8, 9, 3, depth), depth=depth, beside=beside), tmp_path / "a.png", tmp_path / "b.png")
        assert said == ""
        kept = [each for each in chunks_of(tmp_path / "b.png") if each[0] in (b"tEXt", b"zTXt", b"iTXt")]
        assert kept[:3] == text
        assert kept[3][1].endswith(xmp.replace(b'"6"', b'"1"'))
        header = chunks_of(tmp_path / "b.png")[0][1]
        assert struct.unpack(">II", header[:8]) == (16, 18)  # the orientation of the XMP is applied


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_text_of_a_png_where_other_formats_have_a_place(tmp_path, suffix):
    text = {"parameters": "a cät, Steps: 20", "prompt": '{"1": 2}', "workflow": "{}", "Odd": "x"}
    beside = b"".join(chunk(b"iTXt", f"{key}\0\0\0\0\0{value}".encode()) for key, value in text.items())
    said = doubled(png(noise(8, 9, 3), beside=beside), tmp_path / "a.png", tmp_path / f"b{suffix}")
    assert "no place for the text Odd" in said
    with Image.open(tmp_path / f"b{suffix}") as image:
        tags = image.getexif()
        assert (tags[0x010F], tags[0x0110]) == ("workflow:{}", 'prompt:{"1": 2}')
        comment = tags.get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + text["parameters"].encode("utf-16-be")
    assert "the text parameters, prompt, workflow, Odd" in doubled(
        (tmp_path / "a.png").read_bytes(), tmp_path / "a.png", tmp_path / "b.tif"
    )


def test_comment_and_xmp_of_a_jpeg(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">pano</x:xmpmeta>'
    content = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    data = jpeg(comment=b"hello")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        said = doubled(data, tmp_path / "a.jpg", tmp_path / f"b{suffix}")
        assert ("no place for the comment" in said) == (suffix in (".webp", ".tif"))
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert image.info["xmp"] == xmp
            if suffix == ".jpg":
                assert image.info["comment"] == b"hello"
            elif suffix == ".png":
                assert image.info["Comment"] == "hello"


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_iptc_of_a_jpeg(tmp_path, suffix):
    """Keyword and caption (IIM 2:25, 2:120); a TIFF holds them in a tag, a JPEG in Photoshop's resources."""
    iptc = b"\x1c\x02\x19\0\x03cat\x1c\x02\x78\0\x04Caf\xe9"
    resource = b"8BIM\x04\x04\x03abc" + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)
    other = b"8BIM\x03\xed\0\0" + struct.pack(">I", 16) + bytes(16)
    content = b"Photoshop 3.0\0" + other + resource
    data = jpeg()
    data = data[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + data[2:]
    padded = iptc + bytes(-len(iptc) % 4)
    sources = [data]
    for order in "<>":
        directory = tiff(noise(4, 6, 3, 16), 16, photometric=2, order=order)
        for tag, kind, value in ((33723, 7, iptc), (33723, 4, padded), (34377, 1, other + resource)):
            sources.append(with_tag(directory, tag, kind, value))
    for source in sources:
        assert doubled(source, tmp_path / "a.img", tmp_path / f"b{suffix}") == ""
        with Image.open(tmp_path / f"b{suffix}") as image:
            kept = image.tag_v2[33723] if suffix == ".tif" else image.info["photoshop"][0x0404]
            assert kept.rstrip(b"\0") == iptc
            assert IptcImagePlugin.getiptcinfo(image)[2, 25] == b"cat"
    for target in (".png", ".webp"):
        said = doubled(data, tmp_path / "a.jpg", tmp_path / f"b{target}")
        assert "no place for IPTC data, which are left out" in said
    too_large = replace(read_image(tmp_path / "a.jpg"), iptc=bytes(70_000))
    with pytest.warns(ImageFileWarning, match="IPTC data are too large for a JPEG"):
        write_image(tmp_path / "c.jpg", too_large)


@pytest.mark.parametrize("depth", [8, 16])
def test_color_chunks_stay_or_are_named(tmp_path, depth):
    color = [(b"cICP", b"\x09\x10\0\x01"), (b"gAMA", struct.pack(">I", 100000))]
    data = png(noise(8, 9, 3, depth), depth=depth, beside=b"".join(chunk(*each) for each in color))
    assert doubled(data, tmp_path / "a.png", tmp_path / "b.png") == ""
    assert [each for each in chunks_of(tmp_path / "b.png") if each[0] in (b"cICP", b"gAMA")] == color
    for suffix in (".jpg", ".webp", ".tif"):
        assert "color description cICP, gAMA" in doubled(data, tmp_path / "a.png", tmp_path / f"b{suffix}")


def test_resizing_knows_linear_and_pq(tmp_path):
    """A checkerboard of two values, shrunk to one pixel, is the mean of their light."""
    codes = np.array([[[50], [200]], [[200], [50]]], np.uint8).repeat(3, 2)

    def pq(x: np.ndarray) -> np.ndarray:
        power = x ** (32 / 2523)
        return (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)

    for beside, light in [
        (chunk(b"gAMA", struct.pack(">I", 100000)), lambda x: x),
        (chunk(b"gAMA", struct.pack(">I", 50000)), lambda x: x**2),
        (chunk(b"cICP", b"\x09\x10\0\x01"), pq),
        (chunk(b"cICP", b"\x09\x08\0\x01"), lambda x: x),
    ]:
        doubled(png(codes, beside=beside), tmp_path / "a.png", tmp_path / "b.png", size="stretch:1x1")
        value = np.asarray(Image.open(tmp_path / "b.png"))[0, 0, 0] / 255
        np.testing.assert_allclose(light(value), (light(50 / 255) + light(200 / 255)) / 2, rtol=0.05)


def test_a_profile_of_megabytes_stays_equal(tmp_path, monkeypatch):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb + bytes(1_500_000)
    beside = chunk(b"iCCP", b"display\0\0" + zlib.compress(profile))
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 26)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 20)
        assert doubled(png(noise(8, 9, 3), beside=beside), tmp_path / "a.png", tmp_path / f"b{suffix}") == ""
        monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 26)
        assert Image.open(tmp_path / f"b{suffix}").info["icc_profile"] == profile


def test_a_deep_avif_is_named_and_its_colors_are_kept(tmp_path):
    said = doubled(shared("pq10.avif").read_bytes(), tmp_path / "a.avif", tmp_path / "b.png")
    assert "10 bits per channel" in said
    assert (b"cICP", b"\x09\x10\0\x01") in chunks_of(tmp_path / "b.png")


def test_second_pictures_and_gain_maps_are_named(tmp_path):
    images = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    images[0].save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=images[1:])
    with pytest.warns(ImageFileWarning, match="2 pictures"):
        read_image(tmp_path / "a.mpo")
    content = b"http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version='1.0'/>"
    data = jpeg()
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]
    assert "gain map" in read(data, tmp_path / "b.jpg")[1]
