"""Take a PNG apart: what makes its pixels, for Pillow, and what lies beside them, byte for byte.

Pillow gives up on a wrong checksum, and has limits on the size of profiles and text. So it is handed a PNG of the
chunks that make pixels only, with checksums that are right, and everything else is read here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from .color_tags import ColorTags

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
XMP_KEYWORD = b"XML:com.adobe.xmp"

_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLOR_CHUNK_BYTES = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"mDCV": 24, b"cLLI": 8}
_MAX_INFLATED_BYTES = 1 << 26  # of a profile, an XMP packet or a text
_MAX_DEFLATE_RATIO = 1032  # 258 bytes from two bits
_BLOCK = 1 << 16
_EXIF_KEYWORDS = (b"Raw profile type exif", b"Raw profile type APP1")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass
class PngParts:
    """The chunks of a PNG, sorted by their use.

    Attributes:
        header: the content of IHDR.
        pixels: the image alone, as a PNG of IHDR, PLTE, tRNS and IDAT.
        frames: images in the file, as animated PNG counts them.
        transparent_color: gray or (red, green, blue) that is transparent, in the steps of the file's bit depth.
        icc: the color profile.
        exif: a TIFF structure.
        xmp: an XMP packet.
        dpi: pixels per inch (x, y).
        text: tEXt, zTXt and iTXt chunks as (kind, content), without EXIF and XMP.
        color: the chunks that describe colors.
        problems: what is wrong with the file, as ends of a sentence that begins with its name.
        has_end: False if the file ends before IEND.
        has_damaged_pixels: True if a checksum of the compressed pixels is wrong. They may still inflate to what their
            own checksum says.
    """

    header: bytes
    pixels: bytes = b""
    frames: int = 1
    transparent_color: tuple[int, ...] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: list[tuple[bytes, bytes]] = field(default_factory=list)
    color: ColorTags = field(default_factory=ColorTags)
    problems: list[str] = field(default_factory=list)
    has_end: bool = False
    has_damaged_pixels: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = struct.unpack_from(">II", self.header)
        return width, height

    @property
    def is_interlaced(self) -> bool:
        """True if the pixels come in seven passes."""
        return self.header[12] == 1

    @property
    def has_palette(self) -> bool:
        """True if pixels are indices into a palette."""
        return self.header[9] == 3

    @property
    def inflated_bytes(self) -> int:
        """How many bytes the compressed pixels must hold."""
        width, height = self.size
        depth, color_type = self.header[8:10]
        bits = _CHANNELS.get(color_type, 4) * depth
        passes = _ADAM7 if self.is_interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, right, down in passes:
            columns, rows = -(-(width - left) // right), -(-(height - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + (columns * bits + 7) // 8)
        return total

    @property
    def max_inflated_bytes(self) -> int:
        """How many bytes the compressed pixels can hold at most; less than `inflated_bytes` in a damaged file."""
        return len(self.pixels) * _MAX_DEFLATE_RATIO


def read_parts(data: bytes) -> PngParts | None:
    """Sort the chunks of a PNG. Returns None for a file without a usable header."""
    parts: PngParts | None = None
    pixels: list[bytes | memoryview] = [SIGNATURE]
    color: list[tuple[bytes, bytes]] = []
    for kind, content, whole, has_right_checksum in chunks_in(data):
        if parts is None:
            if kind != b"IHDR" or len(content) != 13:
                return None
            parts = PngParts(bytes(content))
        if not has_right_checksum:
            if kind in _PIXEL_CHUNKS:
                sentence = f"has a wrong checksum in its {kind.decode()} chunk."
                parts.has_damaged_pixels |= kind == b"IDAT"
            else:
                name = kind.decode("latin-1") if kind.isalpha() else "unknown"
                sentence = f"has a wrong checksum in its {name} chunk, which is left out."
            if sentence not in parts.problems:
                parts.problems.append(sentence)
        if kind in _PIXEL_CHUNKS:
            if kind == b"tRNS":
                try:
                    parts.transparent_color = _transparent_color(parts.header, bytes(content))
                except struct.error:
                    parts.problems.append("has a broken tRNS chunk, which is left out.")
                    continue
            pixels.append(whole if has_right_checksum else chunk(kind, bytes(content)))
            parts.has_end |= kind == b"IEND"
        elif has_right_checksum:
            try:
                _read_beside(parts, kind, bytes(content), color)
            except (ValueError, struct.error, zlib.error):
                parts.problems.append(f"has a broken {kind.decode('latin-1')} chunk, which is left out.")
        if kind == b"IEND":
            break
    if parts is None:
        return None
    if not parts.has_end:
        pixels.append(chunk(b"IEND", b""))
    parts.color = ColorTags(tuple(color))
    parts.pixels = b"".join(pixels)
    return parts


def chunks_in(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview, bool]]:
    """Yield kind, content, the whole chunk and whether the checksum is right; of a chunk that is cut, what is there."""
    view = memoryview(data)
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        start, end = position + 8, position + 8 + length
        kind = data[position + 4 : start]
        if end + 4 > len(data):
            if kind == b"IDAT":
                content = view[start:end]
                yield kind, content, memoryview(chunk(kind, bytes(content))), True
            return
        (checksum,) = struct.unpack_from(">I", data, end)
        yield kind, view[start:end], view[position : end + 4], zlib.crc32(view[position + 4 : end]) == checksum
        position = end + 4


def _transparent_color(header: bytes, content: bytes) -> tuple[int, ...] | None:
    """Return the color of tRNS in a gray or RGB image, of the bits that the image has (section 11.3.1.1)."""
    depth, color_type = header[8], header[9]
    count = {0: 1, 2: 3}.get(color_type)
    if count is None:
        return None
    values = struct.unpack_from(f">{count}H", content)
    return tuple(value & ((1 << depth) - 1) for value in values)


def _read_beside(parts: PngParts, kind: bytes, content: bytes, color: list[tuple[bytes, bytes]]) -> None:
    """Read a chunk that makes no pixels. Raises ValueError, struct.error or zlib.error if it is broken."""
    if kind == b"iCCP":
        compressed = content[content.index(b"\0") + 2 :]
        parts.icc = inflate_beside(compressed)
    elif kind == b"eXIf":
        parts.exif = content
    elif kind == b"pHYs":
        x, y, unit = struct.unpack(">IIB", content)
        if unit == 1:
            parts.dpi = x * 0.0254, y * 0.0254
    elif kind == b"acTL":
        (parts.frames,) = struct.unpack_from(">I", content)
    elif kind in _COLOR_CHUNK_BYTES:
        if len(content) != _COLOR_CHUNK_BYTES[kind]:
            raise ValueError("a wrong length")
        color.append((kind, content))
    elif kind in TEXT_CHUNKS:
        keyword = content[: content.index(b"\0")]
        if keyword == XMP_KEYWORD and kind == b"iTXt":
            parts.xmp = international_text(content)
        elif keyword in _EXIF_KEYWORDS and kind != b"iTXt":
            exif = _raw_profile(kind, content)
            parts.exif = parts.exif or exif
        else:
            parts.text.append((kind, content))


def international_text(content: bytes) -> bytes:
    """Return the text of an iTXt chunk in UTF-8. Raises ValueError or zlib.error if it is broken or far too large."""
    rest = content[content.index(b"\0") + 1 :]
    is_compressed = rest[:1] == b"\1"
    _language, _keyword, text = rest[2:].split(b"\0", 2)
    return inflate_beside(text) if is_compressed else text


def inflate_beside(compressed: bytes) -> bytes:
    """Inflate what lies beside the pixels. Raises ValueError or zlib.error if it is broken or far too large."""
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(compressed, _MAX_INFLATED_BYTES)
    if not inflater.eof:
        raise ValueError("incomplete or too large")
    return inflated


def _raw_profile(kind: bytes, content: bytes) -> bytes:
    """Return EXIF that is written as hexadecimal text, as ImageMagick does: a name, a length, then the digits."""
    text = content[content.index(b"\0") + 1 :]
    if kind == b"zTXt":
        text = inflate_beside(text[1:])
    return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))


def inflate(parts: PngParts) -> bytes:
    """Inflate as much of the pixels as there is, whatever the checksum of the data says."""
    needed = parts.inflated_bytes
    compressed: bytes = b"".join(content for kind, content, _, _ in chunks_in(parts.pixels) if kind == b"IDAT")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # without zlib's header, no checksum is looked at
    inflated = bytearray()
    for start in range(2, len(compressed), _BLOCK):
        block = compressed[start : start + _BLOCK]
        before = inflater.copy()
        try:
            inflated += inflater.decompress(block, max(1, needed - len(inflated)))
        except zlib.error:
            with suppress(zlib.error):  # what comes before the error in this block
                for position in range(len(block)):
                    inflated += before.decompress(block[position : position + 1], max(1, needed - len(inflated)))
            break
        if inflater.eof or len(inflated) >= needed:
            break
    return bytes(inflated[:needed])


def with_pixels(parts: PngParts, inflated: bytes) -> bytes:
    """Return a PNG of as many of the pixels as there are, the rest zeros."""
    pixels = [SIGNATURE]
    for kind, _, whole, _ in chunks_in(parts.pixels):
        if kind in (b"IHDR", b"PLTE", b"tRNS"):
            pixels.append(bytes(whole))
    filled = inflated + bytes(parts.inflated_bytes - len(inflated))
    return b"".join([*pixels, chunk(b"IDAT", zlib.compress(filled, 1)), chunk(b"IEND", b"")])


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
