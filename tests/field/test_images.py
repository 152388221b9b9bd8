"""Image files as people have them: damaged, tagged, deep, large; each is made here, byte by byte where need be."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, IptcImagePlugin, PngImagePlugin
from supertile.images.batch import upscale_image_files
from supertile.images.io.errors import ImageFileError, ImageFileWarning
from supertile.images.io.files import read_image, write_image
from supertile.images.io.jxl_boxes import read_xmp
from supertile.images.io.picture import Picture
from supertile.images.jobs import FileJob, plan_jobs
from supertile.images.upscale import upscale_image_file
from supertile.inference.finish import Finish
from supertile.inference.upscaler import Upscaler
from supertile.video.kinds import is_video_job
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions
from torch import Tensor

SHARED = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "field"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
RNG = np.random.default_rng(17)


class Doubler:
    """An upscaler that repeats every pixel."""

    scale, input_channels, seamless, finish = 2, 3, "none", Finish()

    def for_depth(self, bits: int) -> Doubler:
        return self

    def network(self, batch: Tensor, **_: object) -> Tensor:
        return batch.repeat_interleave(2, 2).repeat_interleave(2, 3)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path


def chunk(kind: bytes, content: bytes, *, wrong: bool = False) -> bytes:
    checksum = zlib.crc32(kind + content) ^ wrong
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def raw_rows(codes: np.ndarray, depth: int) -> bytes:
    if depth >= 8:
        return b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in codes)
    bits = (codes.reshape(len(codes), -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits)


def png(
    codes: np.ndarray, *, depth: int = 8, beside: bytes = b"", wrong: bytes = b"", rows: bytes | None = None,
    end: bool = True, compressed: bytes | None = None,
) -> bytes:  # fmt: skip
    """A PNG by the book; `wrong` names the chunk whose checksum is not right."""
    height, width, channels = codes.shape
    header = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    data = compressed or zlib.compress(raw_rows(codes, depth) if rows is None else rows)
    first, last = chunk(b"IHDR", header, wrong=wrong == b"IHDR"), chunk(b"IEND", b"") if end else b""
    return SIGNATURE + first + beside + chunk(b"IDAT", data, wrong=wrong == b"IDAT") + last


def noise(height: int, width: int, channels: int, depth: int = 8) -> np.ndarray:
    return RNG.integers(0, 2**depth, (height, width, channels)).astype(np.uint8 if depth <= 8 else np.uint16)


def read(data: bytes, path: Path) -> tuple[Picture, str]:
    """Read a file of these bytes; return it with its warnings in one line."""
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_image(path)
    return picture, " ".join(str(each.message) for each in caught)


def doubled(data: bytes, source: Path, target: Path, size: str | None = None) -> str:
    """Upscale a file of these bytes and return the warnings in one line."""
    source.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upscale_image_file(source, target, Doubler(), size=size, overwrite=True)
    return " ".join(str(each.message) for each in caught)


def chunks_of(path: Path) -> list[tuple[bytes, bytes]]:
    data, position, chunks = path.read_bytes(), 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        content = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert zlib.crc32(data[position + 4 : position + 8] + content) == checksum
        chunks.append((data[position + 4 : position + 8], content))
        position += 12 + length
    return chunks


# Pixels


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


def tiff(
    codes: np.ndarray, bits: int, *, photometric: int = 1, planar: int = 1, order: str = "<", extra: tuple = ()
) -> bytes:
    """A TIFF of one uncompressed strip, or of one for each plane."""
    height, width, channels = codes.shape
    planes = [codes[..., c : c + 1] for c in range(channels)] if planar == 2 else [codes]
    strips = []
    for plane in planes:
        if bits == 16:
            strips.append(plane.astype(order + "u2").tobytes())
        else:
            table = (plane.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
            strips.append(b"".join(np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in table))
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: offsets,
            277: [channels], 278: [height], 279: [len(strip) for strip in strips], 284: [planar]}  # fmt: skip
    tags.update(dict(extra))
    tail, start = b"", 8 + sum(map(len, strips))
    entries = []
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            packed, tail = struct.pack(order + "I", start + len(tail)), tail + packed
        entries.append(struct.pack(order + "HHI", tag, 4, len(values)) + packed)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start + len(tail))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return header + b"".join(strips) + tail + directory


def with_tag(data: bytes, tag: int, kind: int, value: bytes) -> bytes:
    """A TIFF with one more tag, of which the directory comes last."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    length = len(value) // 4 if kind == 4 else len(value)
    entries.append(struct.pack(order + "HHII", tag, kind, length, start))
    directory = struct.pack(order + "H", count + 1) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack(order + "I", start + len(value)) + data[8:start] + value + directory


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


# Damage


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


def jpeg(size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    y, x = np.mgrid[: size[1], : size[0]]
    codes = np.stack([x * 3, y * 4, (x + y) * 2], axis=2).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(codes).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


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


# What is kept


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


# Formats


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


# Animations


def animation(path: Path, *, transparent: bool = True) -> list[np.ndarray]:
    """Three frames of 0.1, 0.05 and 0.25 s, played three times; the last one partly transparent."""
    frames = [Image.new("RGBA", (20, 16), color) for color in ("red", "lime", "#0000ff00" if transparent else "blue")]
    frames[0].paste((9, 9, 9, 0 if transparent else 255), (0, 0, 5, 5))
    frames[1].paste((200, 100, 0, 255), (3, 3, 9, 9))
    frames[2].paste((7, 70, 170, 255), (8, 4, 20, 11))
    options = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 50, 250], loop=3, **options)
    return [np.asarray(frame) for frame in frames]


@pytest.mark.parametrize("target", [".gif", ".webp"])
def test_more_plays_than_a_format_can_count(tmp_path, enlarger, target):
    animation(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    once, many = (chunk(b"acTL", struct.pack(">II", 3, plays)) for plays in (3, 2**31 - 1))
    assert once in data
    (tmp_path / "a.png").write_bytes(data.replace(once, many))
    upscale_video(tmp_path / "a.png", tmp_path / f"b{target}", Upscaler(enlarger(), device="cpu"))
    with Image.open(tmp_path / f"b{target}") as result:
        assert (result.n_frames, result.info["loop"]) == (3, 65535)


@pytest.mark.parametrize("source", [".png", ".webp"])
@pytest.mark.parametrize("target", [".gif", ".png", ".apng", ".webp"])
def test_an_animation_stays_one(tmp_path, enlarger, source, target):
    frames = animation(tmp_path / f"a{source}")
    job = FileJob(tmp_path / f"a{source}", tmp_path / f"b{target}")
    assert is_video_job(job.source, job.target)
    upscaler = Upscaler(enlarger(), device="cpu", precision="fp32")
    upscale_video(job.source, job.target, upscaler, encoder=EncoderOptions(quality=100))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{source}", f"b{target}"]
    with Image.open(job.target) as image:
        assert (image.n_frames, image.size) == (3, (40, 32))
        assert image.info["loop"] == (2 if target == ".gif" else 3)
        delays = []
        for number, expected in enumerate(frames):
            image.seek(number)
            image.load()
            delays.append(image.info["duration"])
            codes = np.asarray(image.convert("RGBA"))
            np.testing.assert_array_equal(codes[::2, ::2, 3], expected[..., 3])
            seen = expected[..., 3] > 0
            np.testing.assert_array_equal(codes[::2, ::2, :3][seen], expected[..., :3][seen])
    assert delays == [100, 50, 250]


@pytest.mark.parametrize("blending", [0, 1])
def test_an_animation_keeps_sixteen_bits(tmp_path, enlarger, blending):
    codes = [noise(6, 7, 4, 16) for _ in range(2)]
    codes[1][..., 3] = np.where(codes[1][..., 3] > 30000, 65535, 0)
    controls = [struct.pack(">IIIIIHHBB", number, 7, 6, 0, 0, 1, 10, 0, number * blending) for number in (0, 1)]
    beside = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", controls[0])
    data = png(codes[0], depth=16, beside=beside, end=False) + chunk(b"fcTL", controls[1])
    data += chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(raw_rows(codes[1], 16))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    upscale_video(tmp_path / "a.png", tmp_path / "b.png", Upscaler(enlarger(), device="cpu", precision="fp32"))
    with av.open(tmp_path / "b.png", format="apng") as container:
        frames = [frame.to_ndarray(format="rgba64le") for frame in container.decode(video=0)]
    assert len(frames) == 2
    if blending:
        codes[1] = np.where(codes[1][..., 3:] > 0, codes[1], codes[0])
    for frame, expected in zip(frames, codes, strict=True):
        visible = expected[..., 3] > 0
        np.testing.assert_allclose(frame[::2, ::2][visible].astype(int), expected[visible], atol=1)


def test_targets_of_animations_in_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for suffix in (".gif", ".png", ".webp"):
        animation(tmp_path / "in" / f"moving{suffix}", transparent=False)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / f"still{suffix}")
    with open(tmp_path / "in" / "cut.gif", "wb") as file:
        file.write((tmp_path / "in" / "moving.gif").read_bytes()[:60])
    jobs = [
        job
        for name in ("moving.gif", "moving.webp", "still.gif", "still.png", "cut.gif")
        for job in plan_jobs([tmp_path / "in" / name], f"{tmp_path}/out/")
    ]
    names = [(job.target.name, is_video_job(job.source, job.target)) for job in jobs]
    assert names == [
        ("moving.gif", True), ("moving.webp", True), ("still.png", False), ("still.png", False), ("cut.png", False),
    ]  # fmt: skip
    assert not is_video_job(tmp_path / "in" / "moving.gif", tmp_path / "a.jpg")


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


def test_an_unsupported_bmp_is_not_called_damaged(tmp_path):
    path = tmp_path / "a.bmp"
    Image.new("RGB", (4, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[28] = 2  # bits per pixel
    path.write_bytes(data)
    with pytest.raises(ImageFileError, match=r"cannot be read: Unsupported BMP pixel depth"):
        read_image(path)
