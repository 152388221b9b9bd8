"""Write a `Picture` to an image file, with the metadata that the format has a place for; the rest is named."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image, features

from .atomic import atomic_file, check_target
from .errors import ImageFileError, ImageFileWarning
from .formats import ImageFormat, format_of
from .iptc import jpeg_segment
from .metadata import EXIF_PREFIX, icc_describes, normalize_exif
from .opening import register_jxl
from .picture import Picture
from .png_reader import SIGNATURE
from .png_writer import chunks_beside, write_png16
from .text import TextPlaces, places_of, text_names
from .tiff_writer import write_tiff

_MAX_JPEG_EXIF_BYTES = 65533
_MAX_JPEG_COMMENT_BYTES = 65533
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_MAX_JPEG_XMP_BYTES = 65533 - len(_XMP_IN_JPEG)
_IHDR_END = len(SIGNATURE) + 25


def write_image(
    path: str | Path,
    picture: Picture,
    *,
    format: ImageFormat | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    sources: Sequence[str | Path] = (),
) -> None:
    """Write an image as PNG, JPEG, WebP, TIFF, AVIF or JPEG XL. The file appears complete or not at all.

    16-bit images stay 16-bit in PNG and TIFF and become 8-bit elsewhere. JPEG has no transparency: the image is
    composited onto white, with an ImageFileWarning.

    Args:
        path: the file to write; its folder must exist.
        picture: the pixels and metadata.
        format: "png", "jpg", "webp", "tiff", "avif" or "jxl"; None goes by the suffix of `path`.
        quality: 1 to 100, for JPEG, WebP, AVIF and JPEG XL; a WebP or JPEG XL of 100 is lossless.
        overwrite: replace the file if it exists.
        sources: files that are never replaced.

    Raises:
        ImageFileError: the file cannot or must not be written.
    """
    path = Path(path)
    format = format_of(path, format)
    check_target(path, overwrite=overwrite, sources=[Path(source) for source in sources])
    _check_encoder(path, format)
    format.check_size(path, picture.width, picture.height)
    try:
        with atomic_file(path, overwrite=overwrite) as file:
            _encode(file, path, picture, format, quality)
    except (OSError, struct.error) as error:
        if not path.parent.is_dir():
            raise ImageFileError(f"{path} cannot be written: the folder {path.parent} does not exist.") from None
        why = getattr(error, "strerror", None) or error  # without the temporary name
        raise ImageFileError(f"{path} cannot be written: {why}.") from error


def _check_encoder(path: Path, format: ImageFormat) -> None:
    """Raise ImageFileError if this installation cannot write a format."""
    if format is ImageFormat.AVIF and not features.check("avif"):
        raise ImageFileError(f"{path} cannot be written: this Pillow was built without AVIF.")
    if format is ImageFormat.JXL and not register_jxl():
        raise ImageFileError(f"{path} cannot be written without pillow-jxl-plugin: pip install supertile[formats].")


def _warn(sentence: str) -> None:
    warnings.warn(sentence, ImageFileWarning, stacklevel=5)


def _encode(file: BinaryIO, path: Path, picture: Picture, format: ImageFormat, quality: int) -> None:
    if format is ImageFormat.JPEG and picture.alpha is not None:
        _warn("JPEG has no transparency; the image is composited onto white.")
        picture = replace(picture, color=picture.color * picture.alpha + (1 - picture.alpha), alpha=None, bit_depth=8)
    depth = picture.bit_depth if format.has_16_bits else 8
    codes = picture.codes(depth)
    if format is ImageFormat.TIFF and codes.shape[2] == 2 and depth == 16:  # Pillow opens no 16-bit gray with alpha
        codes = codes[..., [0, 0, 0, 1]]

    is_gray = codes.shape[2] < 3 and format not in (ImageFormat.WEBP, ImageFormat.AVIF)  # which have no gray
    icc = picture.icc
    if icc and not icc_describes(icc, is_gray):
        kind = "gray" if is_gray else "RGB"
        _warn(f"{path}: the color profile does not describe {kind} pixels and is left out.")
        icc = None
    if icc and format is ImageFormat.JXL:
        _warn(f"{path}: the color profile cannot be written to JPEG XL and is left out.")
        icc = None
    exif = normalize_exif(picture.exif, picture.width, picture.height) if picture.exif else None
    places = places_of(picture.text, picture.comment, format, has_exif=exif is not None)
    exif = exif or places.exif
    if exif and format is ImageFormat.JPEG and len(exif) > _MAX_JPEG_EXIF_BYTES:
        if exif == places.exif:
            places = replace(places, lost=tuple(text_names(picture.text)))
        else:
            _warn(f"{path}: the EXIF data is too large for a JPEG and is left out.")
        exif = None
    _warn_of_lost(path, picture, format, places)

    bare_exif = exif.removeprefix(EXIF_PREFIX) if exif else None
    if format is ImageFormat.TIFF:
        write_tiff(file, codes, icc=icc, exif=bare_exif, dpi=picture.dpi, xmp=picture.xmp, iptc=picture.iptc)
        return
    beside = b""
    if format is ImageFormat.PNG:
        beside = chunks_beside(picture.color_tags, places.chunks, picture.xmp)
    if depth == 16:
        write_png16(file, codes, icc=icc, exif=bare_exif, dpi=picture.dpi, beside=beside)
        return
    options: dict[str, object] = {"icc_profile": icc, "exif": exif or b""}
    if picture.dpi and format in (ImageFormat.PNG, ImageFormat.JPEG):
        options["dpi"] = picture.dpi
    if format is ImageFormat.JPEG:
        options |= {"quality": quality, "subsampling": 0}  # 4:4:4: chroma at full resolution
        if places.comment is not None:
            options["comment"] = places.comment
        segments = (jpeg_segment(picture.iptc) or b"") if picture.iptc else b""
        if picture.xmp and len(picture.xmp) <= _MAX_JPEG_XMP_BYTES:
            content = _XMP_IN_JPEG + picture.xmp
            segments += b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content
        options["extra"] = segments
    elif format is ImageFormat.AVIF:
        options |= {"quality": quality, "subsampling": "4:4:4", "xmp": picture.xmp or b""}
    elif format is ImageFormat.JXL:
        options |= {"quality": quality, "lossless": quality == 100, "xmp": picture.xmp}
    elif format is ImageFormat.WEBP:
        options |= {"quality": quality, "lossless": quality == 100, "exact": quality == 100}
        options["xmp"] = picture.xmp or b""
    encoded = io.BytesIO()  # Pillow's encoders do not report a full disk, writing bytes does
    Image.fromarray(codes[..., 0] if codes.shape[2] == 1 else codes).save(encoded, format.value, **options)
    view = encoded.getbuffer()
    if beside:
        file.write(view[:_IHDR_END])
        file.write(beside)
        view = view[_IHDR_END:]
    file.write(view)


def _warn_of_lost(path: Path, picture: Picture, format: ImageFormat, places: TextPlaces) -> None:
    """Name the metadata that a format has no place for."""
    name = {ImageFormat.WEBP: "WebP", ImageFormat.JXL: "JPEG XL"}.get(format, format.value.upper())
    if places.lost:
        _warn(f"{path}: {name} has no place for the text {', '.join(places.lost)}, which is left out.")
    if places.lost_comment:
        _warn(f"{path}: {name} has no place for the comment, which is left out.")
    if format is ImageFormat.JPEG and picture.xmp and len(picture.xmp) > _MAX_JPEG_XMP_BYTES:
        _warn(f"{path}: the XMP data is too large for a JPEG and is left out.")
    if picture.iptc and format is ImageFormat.JPEG and jpeg_segment(picture.iptc) is None:
        _warn(f"{path}: the IPTC data are too large for a JPEG and are left out.")
    if picture.iptc and format not in (ImageFormat.JPEG, ImageFormat.TIFF):
        _warn(f"{path}: {name} has no place for IPTC data, which are left out.")
    if format is not ImageFormat.PNG and (lost := picture.color_tags.lost_without_chunks) and not picture.icc:
        _warn(f"{path}: {name} has no place for the color description {', '.join(lost)}, which is left out.")
