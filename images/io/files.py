"""Read image files into a `Picture`. `write_image` is in writing.py.

Pixels are exact: 16 bits stay 16 bits, and rounding is to nearest. The EXIF orientation is applied on reading.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from . import jpeg_reader, png_reader
from .color_tags import ColorTags
from .errors import ImageFileError, ImageFileWarning
from .heic_reader import is_heic, read_heic
from .heif_boxes import read_facts
from .iptc import iptc_of_jpeg, iptc_of_tiff
from .jxl_boxes import read_xmp
from .metadata import EXIF_PREFIX, normalize_exif, read_exif, upright_xmp, usable_dpi
from .opening import check_memory, open_image
from .picture import Picture
from .pixels import read_codes
from .ppm_reader import Pixmap
from .tga_reader import without_runs
from .writing import write_image

__all__ = ["read_image", "read_png", "write_image"]

_MAY_BE_ANIMATED = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # an MPO's second frame is a preview
_HEAD_BYTES = 1 << 16
_MAX_MISSING = 0.1  # of a cut image's pixels
_MOTION_NAMES = (b"GCamera:MotionPhoto", b"Camera:MicroVideo=")
_GAIN_MAP_NAMES = (b"hdrgm:Version", b"urn:iso:std:iso:ts:21496")

# EXIF orientation -> (exchange x and y, then flip y, then flip x) that makes the pixels upright.
_UPRIGHT = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


def read_image(path: str | Path) -> Picture:
    """Read an image file: PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF, PPM, PAM, TGA, JPEG 2000 or DDS;
    HEIC and JPEG XL where pillow-heif and pillow-jxl-plugin are installed.

    Gray stays one channel, palettes become RGB, transparency of any kind becomes straight alpha. CMYK and Lab become
    sRGB through their profile. Of an animation the first frame is read. Whatever is not read, repaired or left out is
    an ImageFileWarning. Of a PNG or JPEG that ends early, up to a tenth of the pixels may be missing.

    Raises:
        ImageFileError: the file is missing, damaged, too large for the memory that is free, or its pixels are not
            integers of up to 16 bits.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            if head.startswith(png_reader.SIGNATURE):
                return read_png(file.read(), path)
            if head.startswith(jpeg_reader.SIGNATURE):
                return _read_jpeg(file, path)
            if (pixmap := Pixmap.parse(head)) is not None:
                check_memory(path, pixmap.width, pixmap.height)
                return _picture_of(pixmap.read(file.read()))
            if is_heic(head):
                return _read_heic(file, path)
            return _read_any(file, head, path)
    except ImageFileError:
        raise
    except FileNotFoundError:
        raise ImageFileError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise ImageFileError(f"{path} is a folder, not an image file.") from None
    except PermissionError:
        raise ImageFileError(f"{path} cannot be read: permission denied.") from None
    except MemoryError:
        raise ImageFileError(f"{path} does not fit into memory.") from None
    except NotImplementedError as error:
        raise ImageFileError(f"{path} cannot be read: {_one_line(error)}.") from error
    except Exception as error:  # readers of damaged files raise anything
        if str(error).startswith("Unsupported"):
            raise ImageFileError(f"{path} cannot be read: {_one_line(error)}.") from error
        raise ImageFileError(f"{path} is damaged or incomplete: {_one_line(error)}.") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _warn(path: Path, sentence: str) -> None:
    warnings.warn(f"{path} {sentence}", ImageFileWarning, stacklevel=2)


def _read_any(file: BinaryIO, head: bytes, path: Path) -> Picture:
    with open_image(file, path) as image:
        if image.format == "JXL":
            image.info["xmp"], is_compressed = read_xmp(file)
            if is_compressed:
                _warn(path, "has compressed XMP data, which are left out.")
            return _read(image, path, lambda: image)
        if image.format == "TIFF":
            return replace(_read(image, path, lambda: _reopened(file, path)), iptc=iptc_of_tiff(file))
        if image.format == "TGA":
            return _read_tga(image, file, path)
        if image.format != "AVIF":
            return _read(image, path, lambda: _reopened(file, path))
        facts = read_facts(head)
        if facts.bit_depth > 8:
            _warn(path, f"has {facts.bit_depth} bits per channel, of which 8 are read.")
        if facts.has_gain_map:
            _warn(path, "has a gain map for HDR, which is left out.")
        picture = _read(image, path, lambda: image)
        if facts.primaries is not None and facts.transfer is not None and picture.icc is None:
            picture = replace(picture, color_tags=ColorTags.from_cicp(facts.primaries, facts.transfer))
        return picture


def _read_tga(image: Image.Image, file: BinaryIO, path: Path) -> Picture:
    try:
        return _read(image, path, lambda: _reopened(file, path))
    except OSError:
        file.seek(0)
        if (unpacked := without_runs(file.read())) is None:
            raise
    with open_image(io.BytesIO(unpacked), path) as image:
        return _read(image, path, lambda: _reopened(io.BytesIO(unpacked), path))


def _read_heic(file: BinaryIO, path: Path) -> Picture:
    image = read_heic(file)
    if image is None:
        raise ImageFileError(f"{path} is a HEIC file, for which pillow-heif is needed: pip install supertile[formats].")
    if image.has_gain_map:
        _warn(path, "has a gain map for HDR, which is left out.")
    if image.others:
        _warn(path, f"holds {image.others + 1} images; only the main one is read.")
    height, width = image.codes.shape[:2]
    exif = None
    if (
        image.exif
        and (exif := normalize_exif(EXIF_PREFIX + image.exif.removeprefix(EXIF_PREFIX), width, height)) is None
    ):
        _warn(path, "has broken EXIF data, which are left out.")
    xmp = upright_xmp(image.xmp) if image.xmp else None
    return replace(_picture_of(image.codes), icc=image.icc, exif=exif, xmp=xmp, color_tags=image.color_tags)


def _reopened(file: BinaryIO, path: Path) -> Image.Image:
    file.seek(0)
    return open_image(file, path)


def read_png(data: bytes, path: Path) -> Picture:
    """Read a PNG in memory as `read_image` does; `path` is named in errors. May raise whatever Pillow does."""
    parts = png_reader.read_parts(data)
    if parts is None:
        raise ImageFileError(f"{path} is damaged or incomplete: it has no header of a PNG.")
    check_memory(path, *parts.size)
    if parts.max_inflated_bytes < (1 - _MAX_MISSING) * parts.inflated_bytes:  # before memory for all of them is taken
        raise ImageFileError(f"{path} is damaged or incomplete: it is far too short for the size that it declares.")
    for problem in parts.problems:
        _warn(path, problem)
    if parts.frames > 1:
        _warn(path, f"holds {parts.frames} frames; only the first is read.")

    def decode(pixels: bytes) -> Picture:
        with open_image(io.BytesIO(pixels), path) as image:
            beside = {"icc_profile": parts.icc, "exif": parts.exif, "xmp": parts.xmp, "dpi": parts.dpi}
            image.info |= {name: value for name, value in beside.items() if value}
            if (key := parts.transparent_color) is not None:  # versions of Pillow differ in what they make of it
                image.info["transparency"] = key if len(key) > 1 else key[0]
            return _read(image, path, lambda: open_image(io.BytesIO(pixels), path))

    is_complete = parts.has_end
    try:
        picture = decode(parts.pixels)
        missing = 0
        if parts.is_interlaced or _has_an_empty_edge(picture, parts.has_palette):
            missing = parts.inflated_bytes - len(png_reader.inflate(parts))
    except ImageFileError:
        raise
    except Exception:
        inflated = png_reader.inflate(parts)
        missing = parts.inflated_bytes - len(inflated)
        if parts.has_damaged_pixels or missing > _MAX_MISSING * parts.inflated_bytes:
            raise
        picture = decode(png_reader.with_pixels(parts, inflated))
        if not missing and is_complete:
            _warn(path, "has a wrong checksum over its pixels.")
    if missing:
        share = 100 * missing / parts.inflated_bytes
        _warn(path, f"is incomplete: {share:.3g} % of its pixels are missing and stay black.")
        is_complete = False
    elif not is_complete:
        _warn(path, "ends early; all of its pixels are there.")
    return replace(picture, color_tags=parts.color, text=tuple(parts.text), is_complete=is_complete)


def _has_an_empty_edge(picture: Picture, has_palette: bool) -> bool:
    """Return True if the last row, wherever the orientation moved it, may be one that Pillow never filled."""
    color = picture.color
    edges = (color[:, 0], color[:, -1], color[:, :, 0], color[:, :, -1])
    return any(bool((edge == (edge[:, :1] if has_palette else 0)).all()) for edge in edges)


def _read_jpeg(file: BinaryIO, path: Path) -> Picture:
    try:
        with jpeg_reader.open_jpeg(file, path) as image:
            picture = _read(image, path, lambda: image)
            _name_what_is_beside(image, path)
            return picture
    except (OSError, SyntaxError, ValueError, ImageFileError) as error:
        file.seek(0)
        data = file.read()
        if isinstance(error, OSError) and "truncated" in str(error):
            image, missing = jpeg_reader.open_cut_jpeg(data, path)
            with image:
                picture = _read(image, path, lambda: image)
                lost = f"its last {missing} rows are missing." if missing else "all of its pixels seem to be there."
                _warn(path, f"ends early; {lost}")
                _name_what_is_beside(image, path)
            return replace(picture, is_complete=False)
        try:
            with jpeg_reader.open_jpeg(io.BytesIO(jpeg_reader.without_metadata(data)), path) as image:
                picture = _read(image, path, lambda: image)
        except Exception:
            raise error from None
        _warn(path, "has broken metadata, which is left out.")
        return picture


def _name_what_is_beside(image: Image.Image, path: Path) -> None:
    """Name what a JPEG holds besides its picture and has no place in a `Picture`."""
    segments = [content for _, content in getattr(image, "applist", ())]
    frames = getattr(image, "n_frames", 1) if image.format == "MPO" else 1
    if any(name in content for name in _GAIN_MAP_NAMES for content in segments):
        _warn(path, "has a gain map for HDR, which is left out.")
    elif frames > 1:
        _warn(path, f"holds {frames} pictures; only the first is read.")
    if any(name in content for name in _MOTION_NAMES for content in segments):
        _warn(path, "has a video (motion photo), which is left out.")
    if any(content.startswith(jpeg_reader.EXTENDED_XMP) for content in segments):
        _warn(path, "has XMP data of more than 64 KB, of which the first 64 KB are read.")


def _read(image: Image.Image, path: Path, reopen: Callable[[], Image.Image]) -> Picture:
    """Read an opened image with what Pillow knows of its metadata; broken metadata is left out."""
    if image.format in _MAY_BE_ANIMATED and (frames := getattr(image, "n_frames", 1)) > 1:
        kind = "pages" if image.format == "TIFF" else "frames"
        _warn(path, f"holds {frames} {kind}; only the first is read.")
    icc = image.info.get("icc_profile") or None
    if icc is not None and not isinstance(icc, bytes):
        _warn(path, "has a broken color profile, which is left out.")
        icc = image.info["icc_profile"] = None
    if image.mode in ("CMYK", "LAB"):
        icc = None  # the pixels become sRGB, which needs no profile
    codes = read_codes(image, path, reopen)

    dpi = image.info.get("dpi")
    orientation, exif = 1, None
    try:
        orientation = image.getexif().get(0x0112, 1)  # after loading: Pillow turns TIFF and AVIF itself
        exif = read_exif(image)
    except Exception:  # whatever Pillow's parser does with a broken structure
        _warn(path, "has broken EXIF data, which are left out.")
    if orientation in _UPRIGHT:
        exchange, flip_y, flip_x = _UPRIGHT[orientation]
        if exchange:
            codes = codes.swapaxes(0, 1)
            dpi = dpi and (dpi[1], dpi[0])
        codes = codes[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    if exif is not None:
        exif = normalize_exif(exif, codes.shape[1], codes.shape[0])
        if exif is None:
            _warn(path, "has broken EXIF data, which are left out.")
    if dpi is not None and usable_dpi(dpi) is None:
        _warn(path, "has an impossible resolution, which is left out.")
    xmp, comment = image.info.get("xmp"), image.info.get("comment")
    if isinstance(comment, str):
        comment = comment.encode()
    return replace(
        _picture_of(codes),
        icc=icc,
        exif=exif,
        dpi=usable_dpi(dpi),
        xmp=upright_xmp(xmp.rstrip(b"\0")) if isinstance(xmp, bytes) and xmp.strip(b"\0") else None,
        iptc=iptc_of_jpeg(image) if image.format in ("JPEG", "MPO") else None,
        comment=comment if isinstance(comment, bytes) and image.format in ("JPEG", "MPO", "GIF") else None,
    )


def _picture_of(codes: np.ndarray) -> Picture:
    channels = codes.shape[2]
    planes = Picture.planes(codes)
    return Picture(
        color=planes[: channels - 1] if channels in (2, 4) else planes,
        alpha=planes[-1:] if channels in (2, 4) else None,
        bit_depth=8 if codes.dtype == np.uint8 else 16,
    )
