"""The shape of the image on the screen, written into a finished Matroska or WebM file.

The muxer takes it from a field that PyAV does not set. It is written in afterwards: the track's name was made longer
than it is, and gives its room to DisplayWidth and DisplayHeight (RFC 9559, 5.1.4.1.28). No other byte moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

ROOM = "\x01display size\x01" + " " * 40  # to be appended to the name of the track
_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_NAME, _VOID, _CRC = 0x536E, 0xEC, 0xBF
_DISPLAY = (0x54B0, 0x54BA, 0x54B2)  # width, height, unit (0, which is also the default: pixels)


def set_shape(path: Path, width: int, height: int, sample_aspect_ratio: Fraction) -> None:
    """Tell in which shape the track that has ROOM in its name is shown, to the pixel; one side grows, none shrinks.

    Raises ValueError when there is no such track.
    """
    ratio = sample_aspect_ratio
    shown = (round(width * ratio), height) if ratio >= 1 else (width, round(height / ratio))
    with open(path, "r+b") as file:
        head = file.read(2**20)  # tracks come before anything that is large
        segment = next(start for number, start, _ in _elements(head) if number == _SEGMENT)
        start, end = next(
            (segment + start, segment + end) for number, start, end in _elements(head[segment:]) if number == _TRACKS
        )
        tracks = b""
        crc = 0
        for number, raw, data in _parts(head[start:end]):
            if number == _CRC:
                crc = len(raw)
                continue
            tracks += _with_shape(raw, data, *shown) if number == _TRACK and ROOM.encode() in data else raw
        if len(tracks) + crc != end - start or ROOM.encode() in tracks:
            raise ValueError("the track whose shape is to be written is not there")
        if crc:
            tracks = b"\xbf\x84" + zlib.crc32(tracks).to_bytes(4, "little") + tracks
        file.seek(start)
        file.write(tracks)


def _with_shape(raw: bytes, track: bytes, width: int, height: int) -> bytes:
    """The same track, in as many bytes."""
    data = b""
    for number, part, content in _parts(track):
        if number == _NAME and ROOM.encode() in content:
            name = content.replace(ROOM.encode(), b"")
            part = _element(_NAME, name) if name else b""
        elif number == _VIDEO:
            video = b"".join(piece for number, piece, _ in _parts(content) if number not in _DISPLAY)
            for number, value in zip(_DISPLAY, (width, height), strict=False):
                video += _element(number, value.to_bytes(4, "big"))
            part = _element(_VIDEO, video)
        data += part
    room = len(raw) - len(_element(_TRACK, data)) - len(_element(_VOID, b""))
    return _element(_TRACK, data + _element(_VOID, bytes(room)))


def _parts(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, all its bytes, its content) of each element."""
    at = 0
    for number, start, end in _elements(data):
        yield number, data[at:end], data[start:end]
        at = end


def _elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the contents of the elements that lie one after the other."""
    at = 0
    while at < len(data):
        number_length = 9 - data[at].bit_length()
        length = 9 - data[at + number_length].bit_length()
        start = at + number_length + length
        size = int.from_bytes(data[at + number_length : start], "big") & ((1 << 7 * length) - 1)
        yield int.from_bytes(data[at : at + number_length], "big"), start, start + size
        at = start + size


def _element(number: int, data: bytes) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + (len(data) | 1 << 56).to_bytes(8, "big") + data
