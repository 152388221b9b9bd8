"""Compare what Supertile reads from an image file, and makes of it, with Pillow's own decode."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageCms, ImageOps
from supertile import SupertileError, Upscaler, upscale_image_file
from supertile.images.io.files import read_image
from supertile.images.io.picture import Picture

from .comparison import DEVIATING, EQUAL, READ_BY_US, REFUSED_BY_BOTH, REFUSED_BY_US, Comparison

MAX_PIXELS_OF_A_JOB = 1 << 17
_DEEP_FORMATS = ("rgb48le", "rgba64le", "gray16le", "ya16le")


def compare_image(path: Path, target: Path, upscaler: Upscaler) -> Comparison:
    """Compare the pixels that are read, then those of a result whose every second pixel is one of the source."""
    reference: np.ndarray | str
    try:
        reference = decoded_by_pillow(path)
    except Exception as error:  # Pillow raises anything for damaged files
        reference = f"{type(error).__name__}: {error}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            picture = read_image(path)
        except SupertileError as error:
            if isinstance(reference, str):
                return Comparison(REFUSED_BY_BOTH, [str(error), f"Pillow: {reference}"])
            return Comparison(REFUSED_BY_US, [str(error)])
    sentences = [str(each.message) for each in caught]
    if isinstance(reference, str):
        return Comparison(
            READ_BY_US,
            [f"Pillow: {reference}", *_differing_job(path, picture, target.with_suffix(".png"), upscaler)],
            sentences,
        )
    details = [
        *_differing_pixels(path, picture, reference),
        *_differing_job(path, picture, target.with_suffix(".png"), upscaler),
    ]
    return Comparison(DEVIATING if details else EQUAL, details, sentences)


def decoded_by_pillow(path: Path) -> np.ndarray:
    """Return the pixels (H, W, channels) as Pillow converts them: upright, gray or RGB, alpha last."""
    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode in ("CMYK", "LAB"):
            image = _by_profile(image, profile)
        transparent = image.has_transparency_data
        if image.mode in ("1", "L", "La", "LA"):
            image = image.convert("LA" if transparent else "L")
        elif not image.mode.startswith(("I", "F")):
            image = image.convert("RGBA" if transparent else "RGB")
        codes = np.asarray(image)
        return codes if codes.ndim == 3 else codes[..., None]


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is None and image.mode == "CMYK":
        return image
    source = ImageCms.createProfile("LAB") if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted


def _decoded_by_ffmpeg(path: Path) -> np.ndarray | None:
    """Return 16-bit pixels (H, W, channels), which Pillow cuts to 8 bits; None where FFmpeg does not decode them."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        name = {"rgb48be": "rgb48le", "rgba64be": "rgba64le", "gray16be": "gray16le", "ya16be": "ya16le"}.get(
            frame.format.name, frame.format.name
        )
        if name not in _DEEP_FORMATS:
            return None
        codes = frame.to_ndarray(format=name) if name != "ya16le" else frame.to_ndarray(format="rgba64le")[..., [0, 3]]
    except Exception:  # FFmpeg as well as PyAV
        return None
    return codes if codes.ndim == 3 else codes[..., None]


def _differing_pixels(path: Path, picture: Picture, reference: np.ndarray) -> list[str]:
    codes = picture.codes(picture.bit_depth)
    if codes.shape[:2] != reference.shape[:2]:
        return [f"{codes.shape[1]}x{codes.shape[0]} pixels; Pillow: {reference.shape[1]}x{reference.shape[0]}"]
    if picture.bit_depth == 16:
        deep = _decoded_by_ffmpeg(path)
        if deep is not None and deep.shape == codes.shape and _has_high_bytes(deep, reference):
            reference = deep
        elif reference.dtype == np.uint8:
            codes = (codes >> 8).astype(np.uint8)
    ours, theirs = _alike(codes), _alike(reference)
    if ours.shape != theirs.shape:
        return [f"{codes.shape[2]} channels; Pillow: {reference.shape[2]}"]
    difference = np.abs(ours.astype(np.int64) - theirs)
    visible = (ours[..., -1] > 0) | (theirs[..., -1] > 0)
    if not difference.any():
        return []
    share, maximum = (difference.max(axis=2) > 0).mean(), 255 if codes.dtype == np.uint8 else 65535
    where = "" if difference[visible].any() else ", all of them transparent"
    return [f"{share:.2%} of the pixels differ, by up to {difference.max()} of {maximum}{where}"]


def _has_high_bytes(deep: np.ndarray, reference: np.ndarray) -> bool:
    """Return True if FFmpeg decoded the frame that Pillow did."""
    high = reference if reference.dtype == np.uint8 else reference >> 8
    return np.array_equal(_alike((deep >> 8).astype(np.uint8))[..., :3], _alike(high.astype(np.uint8))[..., :3])


def _alike(codes: np.ndarray) -> np.ndarray:
    """Return RGBA, so that gray and equal channels, or no alpha and an opaque one, compare as equal."""
    opaque = np.full((*codes.shape[:2], 1), 255 if codes.dtype == np.uint8 else 65535, codes.dtype)
    channels = codes.shape[2]
    color = codes[..., :1].repeat(3, axis=2) if channels < 3 else codes[..., :3]
    return np.concatenate([color, codes[..., -1:] if channels in (2, 4) else opaque], axis=2)


def _differing_job(path: Path, picture: Picture, target: Path, upscaler: Upscaler) -> list[str]:
    if picture.width * picture.height > MAX_PIXELS_OF_A_JOB:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            upscale_image_file(path, target, upscaler)
        except SupertileError as error:
            return [f"read, but not upscaled: {error}"]
        result = read_image(target)
    source, larger = (_alike(each.codes(each.bit_depth)) for each in (picture, result))
    if (result.bit_depth, larger.shape[:2]) != (picture.bit_depth, (2 * picture.height, 2 * picture.width)):
        return [f"the result has {result.width}x{result.height} pixels of {result.bit_depth} bits"]
    difference = np.abs(source.astype(np.int64) - larger[::2, ::2])[source[..., 3] > 0]
    return [f"the result differs from the source by up to {difference.max()}"] if difference.any() else []
