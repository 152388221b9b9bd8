"""Recognize encrypted streams, so that video is not called damaged, and sound is not copied as noise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import av

from .errors import VideoError

_TS_SYNC, _TS_PACKET_SIZES, _TS_SCRAMBLING = 0x47, (188, 192, 204), 0xC0
_TS_HEAD_SIZE = 1 << 20


def is_encrypted_stream(stream: Any) -> bool:
    """Return True if the head of a Matroska file says that a stream is encrypted."""
    return any(key.lower() == "enc_key_id" for key in stream.metadata)


def is_encrypted_packet(packet: av.Packet) -> bool:
    """Return True for an encrypted packet of an MP4 file."""
    return packet.has_sidedata("encryption_info")


def refuse_encrypted_stream(stream: Any, name: str) -> None:
    """Raise VideoError if the head of the file says that the video stream is encrypted."""
    if is_encrypted_stream(stream):
        raise _error(name)


def refuse_encrypted_packet(packet: av.Packet, name: str) -> None:
    """Raise VideoError if a packet is encrypted."""
    if is_encrypted_packet(packet):
        raise _error(name)


def refuse_scrambled_broadcast(source: str | Path | BinaryIO, name: str) -> None:
    """Raise VideoError if a file none of whose frames can be decoded is a scrambled transport stream."""
    try:
        if isinstance(source, (str, os.PathLike)):
            if not os.path.isfile(source):  # a pipe would wait for its writer
                return
            with open(source, "rb") as file:
                head = file.read(_TS_HEAD_SIZE)
        else:
            source.seek(0)
            head = source.read(_TS_HEAD_SIZE)
    except (OSError, ValueError):
        return
    for size in _TS_PACKET_SIZES:
        start = 4 if size == 192 else 0  # a time before each packet
        flags = head[start + 3 :: size]
        if set(head[start::size]) == {_TS_SYNC} and sum(bool(f & _TS_SCRAMBLING) for f in flags) > len(flags) // 2:
            raise _error(name)


def _error(name: str) -> VideoError:
    return VideoError(f"{name} is encrypted. Only a copy without encryption can be upscaled.")
