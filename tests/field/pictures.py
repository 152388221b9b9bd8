"""Image files made byte by byte, and what becomes of them through the library."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.images.io.files import read_image
from supertile.images.io.picture import Picture
from supertile.images.upscale import upscale_image_file
from supertile.inference.finish import Finish
from torch import Tensor

SHARED = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "field"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
RNG = np.random.default_rng(17)


class Doubler:
    """An upscaler that repeats every pixel."""

    scale, input_channels, seamless, finish = 2, 3, "none", Finish()

    def for_depth(self, bits: int) -> Doubler:
        return self

    def network(self, batch: Tensor, **_: object) -> Tensor:
        return batch.repeat_interleave(2, 2).repeat_interleave(2, 3)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path


def chunk(kind: bytes, content: bytes, *, wrong: bool = False) -> bytes:
    checksum = zlib.crc32(kind + content) ^ wrong
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def raw_rows(codes: np.ndarray, depth: int) -> bytes:
    if depth >= 8:
        return b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in codes)
    bits = (codes.reshape(len(codes), -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits)


def png(
    codes: np.ndarray, *, depth: int = 8, beside: bytes = b"", wrong: bytes = b"", rows: bytes | None = None,
    end: bool = True, compressed: bytes | None = None,
) -> bytes:  # fmt: skip
    """A PNG by the book; `wrong` names the chunk whose checksum is not right."""
    height, width, channels = codes.shape
    header = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    data = compressed or zlib.compress(raw_rows(codes, depth) if rows is None else rows)
    first, last = chunk(b"IHDR", header, wrong=wrong == b"IHDR"), chunk(b"IEND", b"") if end else b""
    return SIGNATURE + first + beside + chunk(b"IDAT", data, wrong=wrong == b"IDAT") + last


def noise(height: int, width: int, channels: int, depth: int = 8) -> np.ndarray:
    return RNG.integers(0, 2**depth, (height, width, channels)).astype(np.uint8 if depth <= 8 else np.uint16)


def read(data: bytes, path: Path) -> tuple[Picture, str]:
    """Read a file of these bytes; return it with its warnings in one line."""
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_image(path)
    return picture, " ".join(str(each.message) for each in caught)


def doubled(data: bytes, source: Path, target: Path, size: str | None = None) -> str:
    """Upscale a file of these bytes and return the warnings in one line."""
    source.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upscale_image_file(source, target, Doubler(), size=size, overwrite=True)
    return " ".join(str(each.message) for each in caught)


def chunks_of(path: Path) -> list[tuple[bytes, bytes]]:
    data, position, chunks = path.read_bytes(), 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        content = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert zlib.crc32(data[position + 4 : position + 8] + content) == checksum
        chunks.append((data[position + 4 : position + 8], content))
        position += 12 + length
    return chunks


def jpeg(size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    y, x = np.mgrid[: size[1], : size[0]]
    codes = np.stack([x * 3, y * 4, (x + y) * 2], axis=2).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(codes).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def tiff(
    codes: np.ndarray, bits: int, *, photometric: int = 1, planar: int = 1, order: str = "<", extra: tuple = ()
) -> bytes:
    """A TIFF of one uncompressed strip, or of one for each plane."""
    height, width, channels = codes.shape
    planes = [codes[..., c : c + 1] for c in range(channels)] if planar == 2 else [codes]
    strips = []
    for plane in planes:
        if bits == 16:
            strips.append(plane.astype(order + "u2").tobytes())
        else:
            table = (plane.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
            strips.append(b"".join(np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in table))
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: offsets,
            277: [channels], 278: [height], 279: [len(strip) for strip in strips], 284: [planar]}  # fmt: skip
    tags.update(dict(extra))
    tail, start = b"", 8 + sum(map(len, strips))
    entries = []
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            packed, tail = struct.pack(order + "I", start + len(tail)), tail + packed
        entries.append(struct.pack(order + "HHI", tag, 4, len(values)) + packed)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start + len(tail))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return header + b"".join(strips) + tail + directory


def with_tag(data: bytes, tag: int, kind: int, value: bytes) -> bytes:
    """A TIFF with one more tag, of which the directory comes last."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    length = len(value) // 4 if kind == 4 else len(value)
    entries.append(struct.pack(order + "HHII", tag, kind, length, start))
    directory = struct.pack(order + "H", count + 1) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack(order + "I", start + len(value)) + data[8:start] + value + directory
