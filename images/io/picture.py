"""`Picture`: the pixels of an image file as tensors, with the metadata that has to survive the trip."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .color_tags import ColorTags


@dataclass
class Picture:
    """One still image.

    Attributes:
        color: (1 or 3, H, W) float32 in [0, 1], encoded as in the file: no transfer function is applied.
        alpha: (1, H, W) float32 in [0, 1], straight (not premultiplied); None for an image without transparency.
        bit_depth: bits per channel of the file it came from, 8 or 16; also used for writing, if the format can.
        icc: the file's ICC profile, byte for byte, which describes `color`; None for sRGB.
        exif: "Exif\\0\\0" and a TIFF structure, as JPEG stores it. The orientation is already applied and reads 1.
        dpi: pixels per inch (x, y).
        color_tags: what a PNG or AVIF says of its colors besides a profile.
        xmp: an XMP packet; its orientation reads 1 too.
        text: text chunks of a PNG as (kind, content), byte for byte.
        iptc: captions and keywords (IIM), byte for byte, of a JPEG or TIFF.
        comment: the comment of a JPEG or GIF.
        is_complete: False if the file ended early, so that the last pixels are missing.
    """

    color: Tensor
    alpha: Tensor | None = None
    bit_depth: int = 8
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    color_tags: ColorTags = field(default_factory=ColorTags)
    xmp: bytes | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    iptc: bytes | None = None
    comment: bytes | None = None
    is_complete: bool = True

    @property
    def width(self) -> int:
        """In pixels."""
        return self.color.shape[-1]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.color.shape[-2]

    @property
    def is_gray(self) -> bool:
        """True if there is one color channel."""
        return self.color.shape[0] == 1

    def codes(self, bit_depth: int) -> np.ndarray:
        """Return the pixels as integers (H, W, channels), uint8 or uint16, alpha last, rounded to nearest."""
        planes = self.color if self.alpha is None else torch.cat([self.color, self.alpha])
        height, width = planes.shape[-2:]
        codes = np.empty((height, width, planes.shape[0]), dtype=np.uint8 if bit_depth == 8 else np.uint16)
        for channel, plane in enumerate(planes):  # plane by plane, so that only one is copied as float at a time
            scaled = plane.detach().to("cpu", torch.float32).clamp(0, 1) * (2**bit_depth - 1) + 0.5
            codes[..., channel] = scaled.numpy()  # the cast floors: values are positive
        return codes

    @staticmethod
    def planes(codes: np.ndarray) -> Tensor:
        """Convert integers (H, W, channels), uint8 or uint16, to (channels, H, W) float32 in [0, 1]."""
        maximum = 255 if codes.dtype == np.uint8 else 65535
        planes = np.ascontiguousarray(codes.transpose(2, 0, 1), dtype=np.float32)
        planes /= np.float32(maximum)
        return torch.from_numpy(planes)
