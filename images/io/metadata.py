"""EXIF and ICC: what is carried from one image file to another, and what must be corrected.

EXIF is patched in place rather than parsed and rewritten: maker notes hold absolute offsets that a rewrite would break.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any

from PIL import Image, ImageCms

EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_GPS_IFD = 0x8825
_PIXEL_WIDTH = 0xA002
_PIXEL_HEIGHT = 0xA003
_SHORT, _LONG = 3, 4
_MAX_DPI = 65535  # of a JPEG

# Tags of a TIFF's first directory that describe the image rather than how it is stored:
# ImageDescription, Make, Model, Software, DateTime, Artist, Copyright.
_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)


def normalize_exif(exif: bytes, width: int, height: int) -> bytes | None:
    """Return EXIF for upright pixels of a new size: orientation 1, new pixel dimensions, no thumbnail.

    Everything else stays, byte for byte. Returns None if the structure is broken.
    """
    data = bytearray(exif.removeprefix(EXIF_PREFIX))
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        return None

    def patch(directory: int, values: dict[int, int]) -> tuple[int, dict[int, int]]:
        """Overwrite SHORT and LONG entries; return the position after them and the offsets of sub-directories."""
        (count,) = struct.unpack_from(order + "H", data, directory)
        children = {}
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(order + "HHI", data, entry)
            if tag == _EXIF_IFD:
                (children[tag],) = struct.unpack_from(order + "I", data, entry + 8)
            elif tag in values and length == 1 and kind in (_SHORT, _LONG):
                fits = kind == _LONG or values[tag] < 65536
                struct.pack_into(order + "HHI", data, entry, tag, kind if fits else _LONG, 1)
                code = "H2x" if kind == _SHORT and fits else "I"
                struct.pack_into(order + code, data, entry + 8, values[tag])
        return directory + 2 + 12 * count, children

    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        end, children = patch(first, {_ORIENTATION: 1})
        if end + 4 <= len(data):
            struct.pack_into(order + "I", data, end, 0)  # the second directory is the thumbnail
        if _EXIF_IFD in children:
            patch(children[_EXIF_IFD], {_PIXEL_WIDTH: width, _PIXEL_HEIGHT: height})
    except struct.error:
        return None
    return EXIF_PREFIX + bytes(data)


def read_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF of an opened file with the "Exif" prefix, or None."""
    if image.format == "TIFF":
        return _exif_of_tiff(image.getexif())
    exif = image.info.get("exif")
    if not exif and "Raw profile type exif" in image.info:  # how ImageMagick stores it in a PNG
        exif = image.getexif().tobytes()
    if not exif:
        return None
    return EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX)


def _exif_of_tiff(tags: Image.Exif) -> bytes | None:
    """Return EXIF from a TIFF, whose first directory also holds the file's layout: only what describes the image."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            kept[tag] = tags[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        if directory := tags.get_ifd(tag):
            kept.get_ifd(tag).update(directory)
            kept[tag] = directory
    return EXIF_PREFIX + kept.tobytes().removeprefix(EXIF_PREFIX) if len(kept) else None


def exif_directories(exif: bytes) -> dict[int, object]:
    """Return EXIF as entries for a TIFF's first directory: values, or dicts for sub-directories."""
    tags = Image.Exif()
    tags.load(EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX))
    entries: dict[int, object] = {tag: tags[tag] for tag in _DESCRIPTIVE if tag in tags}
    for tag in (_EXIF_IFD, _GPS_IFD):
        if directory := tags.get_ifd(tag):
            entries[tag] = dict(directory)
    return entries


def icc_describes(icc: bytes, is_gray: bool) -> bool:
    """Return True if a profile describes such pixels: bytes 16 to 19 name its color space (ICC.1, 7.2.6)."""
    return icc[16:20] == (b"GRAY" if is_gray else b"RGB ")


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert a CMYK or Lab image to sRGB, through its own profile if it has one."""
    source: Any = None  # an ImageCmsProfile, or Pillow's own class of profiles it makes
    icc = image.info.get("icc_profile")
    if icc:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    elif image.mode == "LAB":
        source = ImageCms.createProfile("LAB")
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None  # None is returned for inPlace=True only
            return converted
        except ImageCms.PyCMSError:
            if image.mode == "LAB":
                raise
    return image.convert("RGB")


def upright_xmp(xmp: bytes) -> bytes:
    """Return an XMP packet whose orientation, where it has one, is 1; everything else stays, byte for byte."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>\s*))[2-8]", rb"\g<1>1", xmp)


def usable_dpi(dpi: object) -> tuple[float, float] | None:
    """Return pixels per inch as two numbers; None if they are not there or no resolution an image can have."""
    try:
        x, y = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return (x, y) if 0 < x <= _MAX_DPI and 0 < y <= _MAX_DPI else None
