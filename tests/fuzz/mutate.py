"""Change a file's bytes at random, as damage and malice do."""

from __future__ import annotations

import random

INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")


def mutated(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return `content` with one to four changes; `other` is a file of the same kind to splice in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_CHANGES)(data, other, rng)
    return bytes(data)


def _position(data: bytearray, rng: random.Random) -> int:
    """Favor the head of a file, where the structure is."""
    reach = len(data) if rng.random() < 0.5 else min(len(data), 512)
    return rng.randrange(reach) if reach else 0


def _flip_bits(data: bytearray, other: bytes, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if data:
            data[_position(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, other: bytes, rng: random.Random) -> None:
    at, value = _position(data, rng), rng.choice(INTERESTING)
    data[at : at + len(value)] = value


def _truncate(data: bytearray, other: bytes, rng: random.Random) -> None:
    del data[_position(data, rng) :]


def _delete(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _position(data, rng)
    del data[at : at + rng.randint(1, 64)]


def _repeat(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _position(data, rng)
    data[at:at] = data[at : at + rng.randint(1, 256)] * rng.randint(1, 8)


def _erase(data: bytearray, other: bytes, rng: random.Random) -> None:
    at, length = _position(data, rng), rng.randint(1, 256)
    data[at : at + length] = bytes(len(data[at : at + length]))


def _splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    if other:
        at, start = _position(data, rng), rng.randrange(len(other))
        piece = other[start : start + rng.randint(1, 1024)]
        data[at : at + len(piece)] = piece


def _change_number(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Change a decimal number in text, as in a JSON header."""
    digits = [i for i, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
    if digits:
        data[rng.choice(digits)] = rng.choice(b"0123456789-")


_CHANGES = (_flip_bits, _overwrite, _truncate, _delete, _repeat, _erase, _splice, _change_number)
