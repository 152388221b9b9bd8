"""Read the size of an image file without its pixels."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .files import read_image
from .opening import open_image

_ORIENTATION = 0x0112
_FIRST_TURNED = 5  # orientations 5 to 8 exchange width and height


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (width, height) of an image as `read_image` returns it, with the EXIF orientation applied.

    The header tells, for most files. The pixels are read only where it does not. An orientation that a PNG states
    after its pixels is not seen.

    Raises:
        ImageFileError: as `read_image`; damage after the header is not noticed.
    """
    path = Path(path)
    with suppress(Exception), open(path, "rb") as file, open_image(file, path) as image:
        width, height = image.size
        if image.format == "PNG" and "exif" not in image.info:  # `getexif` would read the pixels, to look after them
            return width, height
        is_turned = image.getexif().get(_ORIENTATION, 1) >= _FIRST_TURNED
        if not is_turned:
            return width, height
        if image.format in ("JPEG", "MPO", "PNG", "WEBP"):  # Pillow itself turns other formats, some on opening
            return height, width
    picture = read_image(path)
    return picture.width, picture.height
