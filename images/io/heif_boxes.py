"""Read bit depth, colors and gain maps of the main image of an AVIF or HEIC file from its boxes (ISO 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_CONTAINERS = (b"meta", b"iprp", b"ipco")
_GAIN_MAPS = (b"urn:com:photo:aux:hdrgainmap", b"urn:com:apple:photo:2020:aux:hdrgainmap")


@dataclass
class HeifFacts:
    """Facts of a file.

    Attributes:
        bit_depth: bits per channel.
        primaries: code point of ITU-T H.273; None if the file does not tell.
        transfer: the same of the transfer function.
        has_gain_map: True if a second image turns the main one into HDR.
    """

    bit_depth: int = 8
    primaries: int | None = None
    transfer: int | None = None
    has_gain_map: bool = False


def read_facts(head: bytes) -> HeifFacts:
    """Read the boxes at the beginning of a file, as far as `head` reaches."""
    facts = HeifFacts()
    for kind, content in _boxes(head, 0, len(head)):
        if kind == b"pixi" and len(content) > 5:
            facts.bit_depth = max(facts.bit_depth, *content[5 : 5 + content[4]])
        elif kind == b"av1C" and len(content) > 2:
            facts.bit_depth = max(facts.bit_depth, 12 if content[2] & 0x20 else 10 if content[2] & 0x40 else 8)
        elif kind == b"colr" and content[:4] == b"nclx" and len(content) >= 10 and facts.primaries is None:
            facts.primaries, facts.transfer = struct.unpack_from(">HH", content, 4)
        elif kind == b"auxC":
            facts.has_gain_map |= any(name in content for name in _GAIN_MAPS)
        elif kind == b"infe":
            facts.has_gain_map |= content[8:12] == b"tmap"
    return facts


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the boxes, and of those inside containers."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        content, stop = start + 8, min(end, start + length if length else end)
        if length == 1 and start + 16 <= end:
            content, stop = start + 16, min(end, start + struct.unpack_from(">Q", data, start + 8)[0])
        if stop <= content:
            return
        if kind in _CONTAINERS:
            yield from _boxes(data, content + (4 if kind == b"meta" else 0), stop)
        elif kind == b"iinf":
            yield from _boxes(data, content + (6 if data[content] == 0 else 8), stop)
        else:
            yield kind, data[content:stop]
        start = stop
