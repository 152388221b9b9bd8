"""Text that a PNG carries, such as the parameters of a generated image, and its places in other formats."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image

from .formats import ImageFormat
from .metadata import EXIF_PREFIX
from .png_reader import inflate_beside, international_text

_DETAILS = 0x8769
_USER_COMMENT = 0x9286
_UNICODE = b"UNICODE\0"
_MAX_JPEG_COMMENT_BYTES = 65533

# Keyword -> tag of EXIF's first directory, and what stands before the text there. Those of workflows are ComfyUI's.
_TAGS = {
    "Description": (0x010E, ""), "workflow": (0x010F, "workflow:"), "prompt": (0x0110, "prompt:"),
    "Software": (0x0131, ""), "Author": (0x013B, ""), "Copyright": (0x8298, ""),
}  # fmt: skip


@dataclass(frozen=True)
class TextPlaces:
    """Where the text of an image goes.

    Attributes:
        chunks: in a PNG, as (kind, content).
        exif: made of the text, with the prefix; None if there is none to make.
        comment: of a JPEG.
        lost: keywords that have no place.
        lost_comment: True if the comment has no place.
    """

    chunks: tuple[tuple[bytes, bytes], ...] = ()
    exif: bytes | None = None
    comment: bytes | None = None
    lost: tuple[str, ...] = ()
    lost_comment: bool = False


def places_of(
    text: Sequence[tuple[bytes, bytes]], comment: bytes | None, format: ImageFormat, *, has_exif: bool
) -> TextPlaces:
    """Find a place in a format for each text chunk of a PNG and for the comment of a JPEG.

    Args:
        text: the chunks, as (kind, content).
        comment: of a JPEG or GIF.
        format: to write.
        has_exif: True if the image has EXIF of its own, which stays as it is.
    """
    if format is ImageFormat.PNG:
        chunks = tuple(text)
        has_place = comment is not None and b"\0" not in comment
        if comment and has_place:
            chunks += ((b"tEXt", b"Comment\0" + comment),)
        return TextPlaces(chunks, lost_comment=comment is not None and not has_place)
    if format is ImageFormat.TIFF:
        return TextPlaces(lost=tuple(text_names(text)), lost_comment=comment is not None)
    tags = Image.Exif()
    lost = []
    for kind, content in text:
        keyword, value = decoded(kind, content)
        if keyword == "Comment" and format is ImageFormat.JPEG and comment is None and value is not None:
            comment = value.encode("utf-8", "surrogateescape")
        elif value is None or has_exif:
            lost.append(keyword)
        elif keyword == "parameters":
            tags.get_ifd(_DETAILS)[_USER_COMMENT] = _UNICODE + value.encode("utf-16-be", "surrogatepass")
        elif keyword in _TAGS:
            tag, prefix = _TAGS[keyword]
            tags[tag] = (prefix + value).encode("utf-8", "surrogatepass")
        else:
            lost.append(keyword)
    if (details := tags.get_ifd(_DETAILS)) and _DETAILS not in tags:
        tags[_DETAILS] = details
    exif = EXIF_PREFIX + tags.tobytes().removeprefix(EXIF_PREFIX) if len(tags) else None
    fits = format is ImageFormat.JPEG and comment is not None and len(comment) <= _MAX_JPEG_COMMENT_BYTES
    lost_comment = comment is not None and not fits
    return TextPlaces((), exif, comment if fits else None, tuple(lost), lost_comment)


def text_names(text: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """Return the keywords of text chunks."""
    return [decoded(kind, content)[0] for kind, content in text]


def decoded(kind: bytes, content: bytes) -> tuple[str, str | None]:
    """Return keyword and text of a text chunk; None for text that cannot be decoded."""
    name, _, rest = content.partition(b"\0")
    keyword = name.decode("latin-1")
    with suppress(zlib.error, ValueError):
        if kind == b"tEXt":
            return keyword, _utf8_or_latin1(rest)
        if kind == b"zTXt":
            return keyword, _utf8_or_latin1(inflate_beside(rest[1:]))
        return keyword, international_text(content).decode("utf-8")
    return keyword, None


def _utf8_or_latin1(text: bytes) -> str:
    """Decode as UTF-8, which generators write where the specification says Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
