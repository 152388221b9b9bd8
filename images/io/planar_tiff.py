"""Read TIFF files of 8 and 16 bits whose channels lie in separate planes, which Pillow reads wrongly.

Each plane becomes a gray TIFF of its own in memory, with the compressed strips or tiles as they are, for Pillow.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

_GRAY, _RGB = 1, 2
_PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES = 262, 277, 338
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets, byte counts
_LAYOUT = (256, 257, 258, 259, 266, 278, 317, 322, 323)  # tags that describe how one plane is stored
_LONG = 4
_PREMULTIPLIED, _STRAIGHT = 1, 2


def can_read(image: TiffImageFile) -> bool:
    """Return True for gray or RGB of 8 or 16 bits, with or without alpha."""
    tags = image.tag_v2
    bits = tags.get(258, ())
    formats = tags.get(339, (1,))
    channels = {_GRAY: 1, _RGB: 3}.get(tags.get(_PHOTOMETRIC, -1))
    return (
        set(bits) in ({8}, {16}) and set(formats) == {1} and channels is not None and tags.get(_SAMPLES, 1) >= channels
    )


def read_planes(image: TiffImageFile) -> np.ndarray:
    """Return (H, W, channels) uint8 or uint16, alpha last and straight, without further channels."""
    tags = image.tag_v2
    color = 3 if tags[_PHOTOMETRIC] == _RGB else 1
    extra = tags.get(_EXTRA_SAMPLES, (0,))
    kind = extra[0] if tags[_SAMPLES] > color else 0
    count = color + (kind in (_PREMULTIPLIED, _STRAIGHT))
    codes = np.stack([_read_plane(image, plane) for plane in range(count)], axis=-1)
    if kind == _PREMULTIPLIED:
        top = np.iinfo(codes.dtype).max
        alpha = codes[..., -1:].astype(np.float64)
        straight = codes[..., :-1] * (top / np.maximum(alpha, 1))
        codes[..., :-1] = np.minimum(straight + 0.5, top)
    return codes


def _read_plane(image: TiffImageFile, plane: int) -> np.ndarray:
    tags = image.tag_v2
    offsets_tag, counts_tag = _TILES if _TILES[0] in tags else _STRIPS
    per_plane = len(tags[offsets_tag]) // tags[_SAMPLES]
    own = slice(plane * per_plane, (plane + 1) * per_plane)
    order = "<" if tags.prefix == b"II" else ">"
    file = io.BytesIO(tags.prefix + struct.pack(order + "HI", 42, 8))
    file.seek(8)
    values: dict[int, list[int]] = {_PHOTOMETRIC: [_GRAY], _SAMPLES: [1], counts_tag: list(tags[counts_tag][own])}
    for tag in _LAYOUT:
        if tag in tags:
            value = tags[tag]
            values[tag] = [int(value[0] if isinstance(value, tuple) else value)]
    directory_bytes = 2 + 12 * (len(values) + 1) + 4
    beside = 8 + directory_bytes  # where values lie that do not fit into their entries
    position = beside + 2 * 4 * per_plane
    values[offsets_tag] = [position + sum(values[counts_tag][:number]) for number in range(per_plane)]
    entries, tail = b"", b""
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > 4:
            packed, tail = struct.pack(order + "I", beside + len(tail)), tail + packed
        entries += struct.pack(order + "HHI", tag, _LONG, len(numbers)) + packed
    file.write(struct.pack(order + "H", len(values)) + entries + bytes(4) + tail)
    file.seek(position)
    assert image.fp is not None  # it is opened and not yet loaded
    for offset, count in zip(tags[offsets_tag][own], values[counts_tag], strict=True):
        image.fp.seek(offset)
        file.write(image.fp.read(count))
    file.seek(0)
    with TiffImageFile(file) as gray:
        codes = np.asarray(gray)
        return codes if codes.dtype == np.uint8 else codes.astype(np.uint16)
