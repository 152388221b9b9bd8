"""Convert PIL images and NumPy arrays to a `Picture` and its enlargement back, in their own mode, shape and type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..inference.errors import UpscaleError
from .io.picture import Picture

_PIL_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16L", "I;16B")
_KEPT_INFO = ("icc_profile", "exif", "dpi", "xmp", "comment")
_CHANNELS = (1, 3, 4)  # of an array; one without channels is gray
# Resampling overshoots a little; values beyond are of another range.
_LOWEST, _HIGHEST = -0.5, 1.5


def picture_of(image: object) -> tuple[Picture, Callable[[Picture], Any]]:
    """Convert an image to a `Picture`.

    Args:
        image: a PIL image, or an array as `picture_of_array` takes it.

    Returns:
        The picture, and the function that converts its enlargement to what was given.

    Raises:
        UpscaleError: mode, shape, dtype or values are not those of an image; the sentence says what to do.
        TypeError: any other object.
    """
    if isinstance(image, Image.Image):
        return picture_of_pil(image)
    if isinstance(image, np.ndarray):
        return picture_of_array(image)
    if isinstance(image, (str, bytes)) or hasattr(image, "__fspath__"):
        raise TypeError(
            f"an image is a PIL image, an array or a tensor, not a file name ({image!r}); use "
            "upscale_image_file(source, target, upscaler), or open it with PIL.Image.open"
        )
    if isinstance(image, Picture):
        raise TypeError("a Picture is upscaled by upscale_image(picture, upscaler)")
    raise TypeError(f"an image is a PIL image, a NumPy array, a tensor, or a list of them, not {type(image).__name__}")


def picture_of_pil(image: Image.Image) -> tuple[Picture, Callable[[Picture], Image.Image]]:
    """Convert a PIL image of mode 1, L, LA, P, RGB, RGBA or I;16. Returns and raises as `picture_of`.

    The result has the mode of the image, its ICC profile, EXIF, XMP, comment and resolution. A palette (P) is chosen
    anew; 1 is black or white, whichever is closer. A transparent color (`info["transparency"]`) of L and RGB becomes
    an alpha channel, and the result LA or RGBA, because an enlarged edge is partly transparent.
    """
    mode = image.mode
    if mode not in _PIL_MODES:
        target = "L" if mode in ("I", "F") else "RGBA" if mode in ("PA", "RGBa") else "LA" if mode == "La" else "RGB"
        raise UpscaleError(f'PIL images of mode {mode} cannot be upscaled; convert them: image.convert("{target}")')
    if 0 in image.size:
        raise UpscaleError(f"the image is empty: it has {image.width}x{image.height} pixels")
    if mode in ("L", "RGB", "P") and image.has_transparency_data:
        opened = image.convert("LA" if mode == "L" else "RGBA")
        mode = "P" if mode == "P" else opened.mode
    else:
        opened = image.convert({"1": "L", "P": "RGB"}[mode]) if mode in ("1", "P") else image
    codes = np.asarray(opened)
    picture = _picture(codes.astype(codes.dtype.newbyteorder("="), copy=False))
    info = {name: image.info[name] for name in _KEPT_INFO if name in image.info}

    def restore(larger: Picture) -> Image.Image:
        codes = _squeezed(larger.codes(larger.bit_depth))
        result = Image.fromarray(codes.astype(">u2") if mode == "I;16B" else codes)
        if mode == "1":
            result = result.convert("1", dither=Image.Dither.NONE)
        elif mode == "P":
            result = result.quantize(256, Image.Quantize.FASTOCTREE if result.mode == "RGBA" else None)
        result.info.update(info)
        return result

    return picture, restore


def picture_of_array(array: np.ndarray) -> tuple[Picture, Callable[[Picture], np.ndarray]]:
    """Convert an array. Returns and raises as `picture_of`.

    Args:
        array: (H, W), or (H, W, C) with C of 1 (gray), 3 (RGB) or 4 (RGB and straight alpha), of any strides: uint8,
            uint16, or floats in [0, 1]. A little more, as resampling leaves it, is clamped.
    """
    _check_shape(array)
    dtype = array.dtype
    if dtype.kind == "f":
        check_range(float(array.min()), float(array.max()))
    elif dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise UpscaleError(
            f"arrays are uint8, uint16, or floats in [0, 1], not {dtype}; convert it, as in image.astype(numpy.uint8)"
        )
    picture = _picture(array if dtype.kind == "f" else array.astype(dtype.newbyteorder("="), copy=False))
    has_channels = array.ndim == 3

    def restore(larger: Picture) -> np.ndarray:
        if dtype.kind == "f":
            planes = larger.color if larger.alpha is None else torch.cat([larger.color, larger.alpha])
            values = np.ascontiguousarray(planes.permute(1, 2, 0).numpy(), dtype=dtype)
        else:
            values = larger.codes(larger.bit_depth).astype(dtype, copy=False)
        return values if has_channels else values[..., 0]

    return picture, restore


def mask_plane(mask: object) -> Tensor:
    """Convert a mask to (H, W) floats in [0, 1].

    Args:
        mask: a PIL image or an array as `picture_of` takes them, an array of bool, or a tensor (H, W) of bool or of
            floats in [0, 1]. White is 1; black and transparent are 0.

    Raises: as `picture_of`.
    """
    if isinstance(mask, Tensor):
        return mask.float()
    picture, _ = picture_of(mask.astype(np.float32) if isinstance(mask, np.ndarray) and mask.dtype == bool else mask)
    return picture.color.mean(0) * (1 if picture.alpha is None else picture.alpha[0])


def check_tensor(images: Tensor, channels: int) -> None:
    """Raise UpscaleError, with what to do, unless a tensor is an image (C, H, W) or a batch of them (N, C, H, W).

    Args:
        images: the tensor.
        channels: those of the model.
    """
    shape = tuple(images.shape)
    wanted = f"({channels}, H, W) or (N, {channels}, H, W)"
    if images.dim() not in (3, 4):
        hint = f"; add the channels: image.expand({channels}, -1, -1)" if images.dim() == 2 else ""
        raise UpscaleError(f"tensors have the shape {wanted}, not {shape}{hint}")
    if 0 in shape[-3:]:
        raise UpscaleError(f"the image is empty: it has the shape {shape}")
    if shape[-3] != channels:
        hint = ""
        if shape[-1] == channels:
            order = "0, 3, 1, 2" if images.dim() == 4 else "2, 0, 1"
            hint = f"; move the channels first: image.permute({order})"
        elif shape[-3] == 1:
            leading = "-1, " * (images.dim() - 3)
            hint = f"; repeat the channel: image.expand({leading}{channels}, -1, -1)"
        elif shape[-3] == 4 and channels == 3:
            hint = "; leave out the transparency: image[..., :3, :, :]; arrays and PIL images may have it"
        raise UpscaleError(f"this model takes tensors of the shape {wanted}, not {shape}{hint}")
    if not images.is_floating_point():
        largest = 65535 if images.dtype == torch.uint16 else 255
        raise UpscaleError(
            f"tensors are floating point numbers in [0, 1], not {images.dtype}; convert it: image.float() / {largest}"
        )
    if images.numel():
        lowest, highest = images.detach().aminmax()
        check_range(float(lowest), float(highest))


def check_range(lowest: float, highest: float) -> None:
    """Raise UpscaleError, with what to do, unless values from `lowest` to `highest` are an image in [0, 1]."""
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise UpscaleError("the image has values that are NaN or infinite; replace them, as with nan_to_num")
    if highest > _HIGHEST:
        raise UpscaleError(f"floats must be in [0, 1], not up to {highest:g}; for values of 0 to 255: image / 255")
    if lowest < _LOWEST:
        raise UpscaleError(f"floats must be in [0, 1], not from {lowest:g}; for values in [-1, 1]: (image + 1) / 2")


def _check_shape(array: np.ndarray) -> None:
    shape = array.shape
    if array.ndim not in (2, 3):
        hint = "; pass a batch as a list: list(images)" if array.ndim == 4 else ""
        raise UpscaleError(f"arrays have the shape (H, W) or (H, W, C), not {shape}{hint}")
    if 0 in shape:
        raise UpscaleError(f"the image is empty: it has the shape {shape}")
    if array.ndim == 3 and shape[2] not in _CHANNELS:
        hint = ""
        if shape[2] == 2:
            hint = '; for gray with alpha, use a PIL image of mode "LA"'
        elif shape[0] in _CHANNELS:
            hint = "; move the channels last: image.transpose(1, 2, 0)"
        raise UpscaleError(f"arrays have 1 (gray), 3 (RGB) or 4 (RGBA) channels in the last place, not {shape}{hint}")


def _picture(values: np.ndarray) -> Picture:
    """Convert (H, W) or (H, W, 1 to 4) of uint8, uint16 or floats; of 2 and 4 channels the last is alpha."""
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype.kind == "f":
        depth = 16
        # A copy, which the caller's array neither shares nor restricts: it may be read-only.
        planes = torch.from_numpy(np.array(values.transpose(2, 0, 1), dtype=np.float32, order="C")).clamp_(0, 1)
    else:
        depth = 8 if values.dtype == np.uint8 else 16
        planes = Picture.planes(values)
    colors = 1 if planes.shape[0] < 3 else 3
    return Picture(planes[:colors], planes[colors:] if planes.shape[0] > colors else None, depth)


def _squeezed(codes: np.ndarray) -> np.ndarray:
    return codes[..., 0] if codes.shape[2] == 1 else codes
