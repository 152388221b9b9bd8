"""Read image files into a `Picture` and write them from one.

Pixels are exact: 16 bits stay 16 bits, and rounding is to nearest. The EXIF orientation is applied on reading.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from .atomic import atomic_file, check_target
from .errors import ImageFileError, ImageFileWarning
from .formats import ImageFormat, format_of
from .metadata import EXIF_PREFIX, icc_describes, normalize_exif, read_exif, to_srgb
from .picture import Picture
from .png_writer import write_png16
from .sixteen_bit import is_sixteen_bit_color, raw_mode, read_sixteen_bit
from .tiff_writer import write_tiff

# The formats that Pillow may try. Not all it has: EPS starts Ghostscript, and scientific formats hold no photographs.
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "BMP", "DIB", "GIF", "PPM", "TGA", "JPEG2000", "DDS")
_MAY_BE_ANIMATED = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # an MPO's second frame is a preview

_MAX_JPEG_EXIF_BYTES = 65533

# EXIF orientation -> (exchange x and y, then flip y, then flip x) that makes the pixels upright.
_UPRIGHT = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip

# Damaged files make Pillow's parsers fail in any of these ways.
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, AssertionError,
    struct.error, zlib.error,
)  # fmt: skip


def read_image(path: str | Path) -> Picture:
    """Read an image file: PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF, PPM, TGA, JPEG 2000 or DDS.

    Gray stays one channel, palettes become RGB, transparency of any kind becomes straight alpha. CMYK and Lab become
    sRGB through their profile. Of an animation the first frame is read, with an ImageFileWarning.

    Raises:
        ImageFileError: the file is missing, damaged, larger than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`), or its
            pixels are not integers of up to 16 bits.
    """
    path = Path(path)
    try:
        with Image.open(path, formats=_formats()) as image:
            return _read(image, path)
    except ImageFileError:
        raise
    except FileNotFoundError:
        raise ImageFileError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise ImageFileError(f"{path} is a folder, not an image file.") from None
    except PermissionError:
        raise ImageFileError(f"{path} cannot be read: permission denied.") from None
    except UnidentifiedImageError:
        raise ImageFileError(
            f"{path} is not an image in a format that can be read: PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF, PPM, TGA, "
            "JPEG 2000 or DDS."
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"{path} has more pixels than Pillow's safety limit allows: {error}") from None
    except _DECODING_ERRORS as error:
        raise ImageFileError(f"{path} is damaged or incomplete: {error}.") from error


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats of `_PILLOW_FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _PILLOW_FORMATS if name in Image.OPEN)


def _read(image: Image.Image, path: Path) -> Picture:
    if image.format in _MAY_BE_ANIMATED and (frames := getattr(image, "n_frames", 1)) > 1:
        warnings.warn(f"{path} holds {frames} frames; only the first is read.", ImageFileWarning, stacklevel=3)

    if image.format == "TIFF" and image.mode not in ("F", "I"):
        _refuse_cut_tiff(image, path)
    icc = image.info.get("icc_profile")
    if image.mode in ("CMYK", "LAB"):
        icc = None  # the pixels become sRGB, which needs no profile
    if is_sixteen_bit_color(image):
        codes = _with_color_key(read_sixteen_bit(image, path, _formats()), image, 1)
    else:
        codes = _read_codes(image, path)

    dpi = image.info.get("dpi")
    orientation = image.getexif().get(0x0112, 1)  # after loading: Pillow turns TIFF and AVIF itself
    if orientation in _UPRIGHT:
        exchange, flip_y, flip_x = _UPRIGHT[orientation]
        if exchange:
            codes = codes.swapaxes(0, 1)
            dpi = dpi and (dpi[1], dpi[0])
        codes = codes[:: -1 if flip_y else 1, :: -1 if flip_x else 1]

    channels = codes.shape[2]
    planes = Picture.planes(codes)
    exif = read_exif(image)
    if dpi is not None and not all(0 < value < float("inf") for value in dpi):
        dpi = None
    return Picture(
        color=planes[: channels - 1] if channels in (2, 4) else planes,
        alpha=planes[-1:] if channels in (2, 4) else None,
        bit_depth=8 if codes.dtype == np.uint8 else 16,
        icc=icc or None,
        exif=normalize_exif(exif, codes.shape[1], codes.shape[0]) if exif else None,
        dpi=dpi and (float(dpi[0]), float(dpi[1])),
    )


def _refuse_cut_tiff(image: Image.Image, path: Path) -> None:
    """Refuse a color TIFF with 16-bit channels in separate planes, which Pillow opens as 8 bits, and wrongly."""
    bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
    if max(bits) > 8 and len(bits) > 1 and not is_sixteen_bit_color(image) and image.mode != "CMYK":
        raise ImageFileError(f"{path} stores {max(bits)}-bit channels in a layout that cannot be read.")


def _read_codes(image: Image.Image, path: Path) -> np.ndarray:
    """Read any other layout as (H, W, channels) uint8, or uint16 for 16-bit gray; alpha last."""
    layout = raw_mode(image)
    if image.mode in ("CMYK", "LAB"):
        image = to_srgb(image)
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "RGBa":
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("1", "L"):
        # The color key of a PNG with 1, 2 or 4 bits is in the file's own steps; its pixels are scaled to 0..255.
        steps = {"1": 1, "L;2": 3, "L;4": 15}.get(layout, 255)
        codes = np.asarray(image.convert("L") if image.mode == "1" else image)
        return _with_color_key(codes[..., None], image, 255 // steps)
    if image.mode in ("LA", "RGBA"):
        return np.asarray(image)
    if image.mode == "RGB":
        return _with_color_key(np.asarray(image), image, 1)
    if image.mode.startswith("I;16"):
        return _with_color_key(np.asarray(image).astype(np.uint16)[..., None], image, 1)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits, in Pillow's 32-bit mode
        return np.asarray(image).astype(np.uint16)[..., None]
    kind = {"F": "floating-point pixels", "I": "32-bit integer pixels"}.get(image.mode, f"pixels of kind {image.mode}")
    raise ImageFileError(f"{path} holds {kind}; only 8 and 16 bits per channel can be read.")


def _with_color_key(codes: np.ndarray, image: Image.Image, step: int) -> np.ndarray:
    """Append the alpha of PNG's tRNS chunk: one color is fully transparent, all others are opaque."""
    key = image.info.get("transparency")
    channels = codes.shape[2]
    if image.format != "PNG" or key is None or channels not in (1, 3) or isinstance(key, bytes):
        return codes
    opaque = (codes != np.asarray(key) * step).any(axis=2, keepdims=True)
    return np.concatenate([codes, opaque * codes.dtype.type(np.iinfo(codes.dtype).max)], axis=2)


def write_image(
    path: str | Path,
    picture: Picture,
    *,
    format: ImageFormat | str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    sources: Sequence[str | Path] = (),
) -> None:
    """Write an image as PNG, JPEG, WebP or TIFF. The file appears complete or not at all.

    16-bit images stay 16-bit in PNG and TIFF and become 8-bit elsewhere. JPEG has no transparency: the image is
    composited onto white, with an ImageFileWarning.

    Args:
        path: the file to write; its folder must exist.
        picture: the pixels and metadata.
        format: "png", "jpg", "webp" or "tiff"; None goes by the suffix of `path`.
        quality: 1 to 100, for JPEG and WebP; a WebP of 100 is lossless.
        overwrite: replace the file if it exists.
        sources: files that are never replaced.

    Raises:
        ImageFileError: the file cannot or must not be written.
    """
    path = Path(path)
    format = format_of(path, format)
    check_target(path, overwrite=overwrite, sources=[Path(source) for source in sources])
    format.check_size(path, picture.width, picture.height)
    try:
        with atomic_file(path, overwrite=overwrite) as file:
            _encode(file, path, picture, format, quality)
    except FileNotFoundError:
        raise ImageFileError(f"{path} cannot be written: the folder {path.parent} does not exist.") from None
    except (OSError, struct.error) as error:
        raise ImageFileError(f"{path} cannot be written: {error}.") from error


def _encode(file: BinaryIO, path: Path, picture: Picture, format: ImageFormat, quality: int) -> None:
    if format is ImageFormat.JPEG and picture.alpha is not None:
        warnings.warn("JPEG has no transparency; the image is composited onto white.", ImageFileWarning, stacklevel=4)
        picture = Picture(
            picture.color * picture.alpha + (1 - picture.alpha), None, 8, picture.icc, picture.exif, picture.dpi
        )
    depth = picture.bit_depth if format.has_16_bits else 8
    codes = picture.codes(depth)
    if format is ImageFormat.TIFF and codes.shape[2] == 2 and depth == 16:  # Pillow opens no 16-bit gray with alpha
        codes = codes[..., [0, 0, 0, 1]]

    is_gray = codes.shape[2] < 3 and format is not ImageFormat.WEBP  # WebP has no gray
    icc = picture.icc
    if icc and not icc_describes(icc, is_gray):
        warnings.warn(
            f"{path}: the color profile does not describe {'gray' if is_gray else 'RGB'} pixels and is left out.",
            ImageFileWarning,
            stacklevel=4,
        )
        icc = None
    exif = normalize_exif(picture.exif, picture.width, picture.height) if picture.exif else None
    if exif and format is ImageFormat.JPEG and len(exif) > _MAX_JPEG_EXIF_BYTES:
        warnings.warn(f"{path}: the EXIF data is too large for a JPEG and is left out.", ImageFileWarning, stacklevel=4)
        exif = None

    bare_exif = exif.removeprefix(EXIF_PREFIX) if exif else None
    if format is ImageFormat.TIFF:
        write_tiff(file, codes, icc=icc, exif=bare_exif, dpi=picture.dpi)
    elif depth == 16:
        write_png16(file, codes, icc=icc, exif=bare_exif, dpi=picture.dpi)
    else:
        options: dict[str, object] = {"icc_profile": icc, "exif": exif or b""}
        if picture.dpi and format is not ImageFormat.WEBP:
            options["dpi"] = picture.dpi
        if format is ImageFormat.JPEG:
            options |= {"quality": quality, "subsampling": 0}  # 4:4:4: chroma at full resolution
        elif format is ImageFormat.WEBP:
            options |= {"quality": quality, "lossless": quality == 100, "exact": quality == 100}
        encoded = io.BytesIO()  # Pillow's encoders do not report a full disk, writing bytes does
        Image.fromarray(codes[..., 0] if codes.shape[2] == 1 else codes).save(encoded, format.value, **options)
        file.write(encoded.getbuffer())
