"""Make small valid images and animations of every common format, with metadata."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'


def pixels(height: int = 21, width: int = 30) -> np.ndarray:
    """Return (height, width, 4) of uint8: smooth waves."""
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.5 * np.sin(x / (3 + c)) * np.cos(y / (4 + c)) for c in range(4)]
    return np.round(255 * np.stack(waves, -1)).astype(np.uint8)


def images(folder: Path) -> Iterator[Path]:
    """Write images into `folder` and yield their paths."""
    rgba = Image.fromarray(pixels(), "RGBA")
    rgb, gray = rgba.convert("RGB"), rgba.convert("L")
    deep = Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274], exif[305] = 6, "seed"
    exif.get_ifd(34853)[2] = (1.0, 2.0, 3.0)
    beside = {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "steps: 20", zip=True)
    text.add_itxt("prompt", '{"1": {}}')
    text.add_itxt("XML:com.adobe.xmp", _XMP.decode(), zip=True)
    for kind, content in ((b"gAMA", 45455), (b"cHRM", 31270)):
        text.add(kind, struct.pack(">I", content) * (8 if kind == b"cHRM" else 1))
    text.add(b"cICP", bytes((1, 13, 0, 1)))
    saves: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "rgb.png": (rgb, {"pnginfo": text, "dpi": (72, 72), **beside}),
        "rgba.png": (rgba, {}),
        "gray.png": (gray, {"transparency": 7}),
        "one_bit.png": (gray.convert("1"), {}),
        "palette.png": (rgb.quantize(16), {"transparency": 3}),
        "sixteen.png": (deep, {}),
        "baseline.jpg": (rgb, {"quality": 80, "comment": b"seed", "xmp": _XMP, "dpi": (72, 72), **beside}),
        "progressive.jpg": (rgb, {"progressive": True}),
        "restarts.jpg": (rgb, {"restart_marker_blocks": 2, "subsampling": "4:2:0"}),
        "gray.jpg": (gray, {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "two.mpo": (rgb, {"save_all": True, "append_images": [rgb]}),
        "lossy.webp": (rgba, {"quality": 60, "xmp": _XMP, **beside}),
        "lossless.webp": (rgba, {"lossless": True}),
        "plain.tif": (rgb, {"dpi": (72, 72)}),
        "deflate.tif": (rgb, {"compression": "tiff_adobe_deflate", **beside}),
        "lzw.tif": (gray, {"compression": "tiff_lzw"}),
        "jpeg.tif": (rgb, {"compression": "jpeg"}),
        "fax.tif": (gray.convert("1"), {"compression": "group4"}),
        "cmyk.tif": (rgb.convert("CMYK"), {"compression": "packbits"}),
        "sixteen.tif": (deep, {}),
        "pages.tif": (rgb, {"save_all": True, "append_images": [rgb]}),
        "colors.bmp": (rgb, {}),
        "alpha.bmp": (rgba, {}),
        "palette.bmp": (rgb.quantize(16), {}),
        "colors.ppm": (rgb, {}),
        "sixteen.pgm": (deep, {}),
        "bits.pbm": (gray.convert("1"), {}),
        "colors.tga": (rgba, {}),
        "runs.tga": (rgb, {"compression": "tga_rle"}),
        "still.gif": (rgb, {"transparency": 3, "comment": b"seed"}),
        "color.avif": (rgb, {"quality": 60, "xmp": _XMP, **beside}),
        "alpha.avif": (rgba, {"quality": 60}),
        "color.jp2": (rgb, {}),
        "tiles.jp2": (rgb, {"tile_size": (16, 16), "irreversible": True}),
        "alpha.dds": (rgba, {}),
        "blocks.dds": (rgba, {"pixel_format": "DXT5"}),
    }
    for name, (image, options) in saves.items():
        image.save(folder / name, **options)
        yield folder / name
    made = {
        "deep_rgba.png": _deep_png(),
        "interlaced.png": _deep_png(interlaced=True),
        "text.ppm": b"P3\n# seed\n2 2 255\n" + b"1 2 3 " * 4,
        "alpha.pam": b"P7\nWIDTH 30\nHEIGHT 21\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + pixels().tobytes(),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
        yield folder / name


def animations(folder: Path) -> Iterator[Path]:
    """Write animations into `folder` and yield their paths."""
    frames = [Image.fromarray(np.roll(pixels(), shift, 1), "RGBA") for shift in (1, 2, 3)]
    options = {"save_all": True, "append_images": frames, "duration": 40, "loop": 2}
    rgba = Image.fromarray(pixels(), "RGBA")
    for name, more in {
        "replaced.gif": {"disposal": 2}, "over.gif": {"disposal": 1}, "blended.png": {"blend": 1, "disposal": 1},
        "replaced.png": {"blend": 0}, "lossy.webp": {}, "lossless.webp": {"lossless": True},
    }.items():  # fmt: skip
        rgba.save(folder / name, **options, **more)
        yield folder / name
    (folder / "deep.png").write_bytes(_deep_animation())
    yield folder / "deep.png"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _rows(codes: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in codes)


def _deep_png(*, interlaced: bool = False) -> bytes:
    """Return a PNG of 16 bits and four channels, which Pillow does not write."""
    codes = pixels().astype(np.uint16) * 257
    passes = [codes]
    if interlaced:
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        passes = [codes[top::down, left::right] for left, top, right, down in steps]
    header = struct.pack(">IIBBBBB", codes.shape[1], codes.shape[0], 16, 6, 0, 0, interlaced)
    data = zlib.compress(b"".join(map(_rows, passes)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _deep_animation() -> bytes:
    """Return an animated PNG of 16 bits, whose second frame is a rectangle inside the first."""
    codes = pixels().astype(np.uint16) * 257
    height, width = codes.shape[:2]

    def control(number: int, width: int, height: int, offset: int) -> bytes:
        return _chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, offset, offset, 1, 25, 1, 1))

    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0))
        + _chunk(b"acTL", struct.pack(">II", 2, 0))
        + control(0, width, height, 0)
        + _chunk(b"IDAT", zlib.compress(_rows(codes)))
        + control(1, 10, 8, 4)
        + _chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(_rows(codes[:8, :10])))
        + _chunk(b"IEND", b"")
    )
