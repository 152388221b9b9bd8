"""The image formats that can be read and written, by the suffixes of their files. Loads no library."""

from __future__ import annotations

from difflib import get_close_matches
from enum import Enum
from importlib.util import find_spec
from pathlib import Path

from .errors import ImageFileError

READABLE_SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".dib",
    ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".tga", ".jp2", ".dds",
    *((".heic", ".heif", ".hif") if find_spec("pillow_heif") else ()), *((".jxl",) if find_spec("pillow_jxl") else ()),
})  # fmt: skip


class ImageFormat(str, Enum):
    """A format that can be written. The value is Pillow's name for it, in lower case."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"
    JXL = "jxl"

    @property
    def suffix(self) -> str:
        """The usual suffix of file names, with the dot."""
        return {"jpeg": ".jpg", "tiff": ".tif"}.get(self.value, f".{self.value}")

    @property
    def max_side(self) -> int:
        """The most pixels that an image may have along one side."""
        return {"jpeg": 65500, "webp": 16383, "avif": 65536}.get(self.value, 2**31 - 1)

    @property
    def has_alpha(self) -> bool:
        """True if the format holds transparency."""
        return self is not ImageFormat.JPEG

    @property
    def has_16_bits(self) -> bool:
        """True if the format holds 16 bits per channel."""
        return self in (ImageFormat.PNG, ImageFormat.TIFF)

    def check_size(self, path: str | Path, width: int, height: int) -> None:
        """Raise ImageFileError if the format cannot hold an image of `width` x `height` pixels; `path` is named."""
        if max(width, height) > self.max_side:
            raise ImageFileError(
                f"{path} cannot be written: {self.value.upper()} holds at most {self.max_side} pixels a side, and the "
                f"image has {width}x{height}."
            )


# Suffixes of sources whose format a result keeps where no other is chosen.
WRITABLE_SUFFIXES = {
    ".png": ImageFormat.PNG, ".jpg": ImageFormat.JPEG, ".jpeg": ImageFormat.JPEG, ".jfif": ImageFormat.JPEG,
    ".webp": ImageFormat.WEBP, ".tif": ImageFormat.TIFF, ".tiff": ImageFormat.TIFF,
}  # fmt: skip


TARGET_SUFFIXES = WRITABLE_SUFFIXES | {".avif": ImageFormat.AVIF, ".jxl": ImageFormat.JXL}


def format_of(path: str | Path, format: str | ImageFormat | None = None) -> ImageFormat:
    """Return the format to write: `format` if one is given, else the one that the suffix of `path` means.

    Args:
        path: the file to write.
        format: "png", "jpg", "jpeg", "webp", "tif", "tiff", "avif" or "jxl", in any case.

    Raises:
        ImageFileError: any other format or suffix.
    """
    if isinstance(format, ImageFormat):
        return format
    if format is not None:
        if (known := TARGET_SUFFIXES.get(f".{format.lower()}")) is None:
            raise ImageFileError(f"Format {format!r} cannot be written; choose png, jpg, webp, tiff, avif or jxl.")
        return known
    suffix = Path(path).suffix
    if (known := TARGET_SUFFIXES.get(suffix.lower())) is None:
        if suffix:
            similar = get_close_matches(suffix.lower(), sorted(TARGET_SUFFIXES), n=1, cutoff=0.7)
            near = f"did you mean {similar[0]}? Else " if similar else ""
            raise ImageFileError(
                f"{path} ends in {suffix!r}, which cannot be written; {near}use png, jpg, webp, tiff, avif or jxl."
            )
        raise ImageFileError(f"{path} has no suffix; end it in .png, .jpg, .webp or .tif to choose the format.")
    return known
