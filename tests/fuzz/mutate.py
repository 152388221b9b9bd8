"""Change a file's bytes at random, as damage and malice do. guarded.py does so behind checksums."""

from __future__ import annotations

import random
import re

_EXTREMES = tuple(
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for value in (0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1)
    for order in ("big", "little")
)
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")  # of a chunk in PNG, RIFF, MP4...
_NUMBER = re.compile(rb"\d+")
_EDGE = 512  # bytes at both ends of a file, where the structure is


def mutated(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return `content` with one to sixteen changes; `other` is a file of the same kind to splice in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        rng.choice(_CHANGES)(data, other, rng)
    return bytes(data)


def _position(data: bytearray, rng: random.Random) -> int:
    """Favor both ends of a file."""
    if not data:
        return 0
    where = rng.choice(("anywhere", "anywhere", "head", "head", "tail"))
    edge = min(len(data), _EDGE)
    if where == "anywhere":
        return rng.randrange(len(data))
    return rng.randrange(edge) if where == "head" else len(data) - 1 - rng.randrange(edge)


def _flip_bits(data: bytearray, other: bytes, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if data:
            data[_position(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite_with_extreme(data: bytearray, other: bytes, rng: random.Random) -> None:
    at, value = _position(data, rng), rng.choice(_EXTREMES)
    data[at : at + len(value)] = value


def _overwrite_with_noise(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _position(data, rng)
    run = rng.randbytes(rng.randint(1, 64))
    data[at : at + len(run)] = run


def _insert_noise(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _position(data, rng)
    data[at:at] = rng.randbytes(rng.randint(1, 64))


def _erase(data: bytearray, other: bytes, rng: random.Random) -> None:
    at, length, value = _position(data, rng), rng.randint(1, 256), rng.choice((0, 255))
    data[at : at + length] = bytes([value]) * len(data[at : at + length])


def _truncate(data: bytearray, other: bytes, rng: random.Random) -> None:
    del data[_position(data, rng) :]


def _delete(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _position(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 64, 512, 4096))]


def _repeat(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = _position(data, rng)
    data[at:at] = data[at : at + rng.randint(1, 256)] * rng.randint(1, 8)


def _splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Overwrite a run with one of the other file, or go on with that file to its end."""
    if not other:
        return
    at, start = _position(data, rng), rng.randrange(len(other))
    if rng.random() < 0.3:
        data[at:] = other[start:]
    else:
        run = other[start : start + rng.randint(1, 1024)]
        data[at : at + len(run)] = run


def _change_length(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Put an extreme, or a number a little off, where a length stands: before or after the name of a chunk."""
    names = [match.start() for match in _NAME.finditer(data)]
    if not names:
        return
    at = max(0, rng.choice(names) + rng.choice((-4, 4)))
    order = "big" if rng.random() < 0.5 else "little"
    if rng.random() < 0.5:
        value = rng.choice([extreme for extreme in _EXTREMES if len(extreme) == 4])
    else:
        value = ((int.from_bytes(data[at : at + 4], order) + rng.randint(-16, 16)) % (1 << 32)).to_bytes(4, order)
    data[at : at + 4] = value


def _move_chunk(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Repeat, leave out or move what lies between two names of chunks."""
    names = [match.start() for match in _NAME.finditer(data)]
    if len(names) < 2:
        return
    first = rng.randrange(len(names) - 1)
    before = rng.choice((0, 4))  # PNG and MP4 have the length in front of the name
    start, end = max(0, names[first] - before), names[min(first + rng.randint(1, 3), len(names) - 1)] - before
    chunk = data[start:end]
    kind = rng.choice(("repeat", "delete", "move"))
    if kind != "repeat":
        del data[start:end]
    if kind != "delete":
        at = start if kind == "repeat" else max(0, min(rng.choice(names) - before, len(data)))
        data[at:at] = chunk


def _change_number(data: bytearray, other: bytes, rng: random.Random) -> None:
    """Change a decimal number in text, as in a JSON header."""
    numbers = list(_NUMBER.finditer(data, 0, 1 << 16))
    if numbers:
        number = rng.choice(numbers)
        old = int(number.group()[:18])
        new = rng.choice((0, -1, old + 1, old - 1, old * 2, 2**31, 2**32, 2**63, 10**30, rng.randrange(1000)))
        data[number.start() : number.end()] = str(new).encode()


_CHANGES = (
    _flip_bits, _overwrite_with_extreme, _overwrite_with_noise, _insert_noise, _erase, _truncate, _delete, _repeat,
    _splice, _change_length, _move_chunk, _change_number,
)  # fmt: skip
