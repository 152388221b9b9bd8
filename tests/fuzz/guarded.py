"""Change what a file guards with a checksum, a compression or a length, so that a reader gets as far as the change.

A PNG whose chunks have wrong checksums, or a zip whose members have, is refused before anything else of it is read.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

Change = Callable[[bytes], bytes]

_PNG = b"\x89PNG\r\n\x1a\n"


def changed_inside(content: bytes, change: Change, poison: Change, rng: random.Random) -> bytes | None:
    """Return a file with `change` behind its guards; None if it has none, or is too damaged to find them.

    Args:
        content: the file.
        change: changes any bytes.
        poison: changes a pickle.
        rng: chooses what to change.
    """
    try:
        if content.startswith(_PNG):
            return _png(content, change, rng)
        if content.startswith(b"PK"):
            return _zip(content, change, poison, rng)
        if content[8:9] == b"{":
            return _safetensors(content, change, rng)
        if content[:1] == b"\x80":
            return poison(content)
    except (struct.error, zlib.error, zipfile.BadZipFile, ValueError, KeyError):
        pass
    return None


def _png(content: bytes, change: Change, rng: random.Random) -> bytes:
    """Change, repeat, move or leave out a chunk, and make all lengths and checksums right."""
    chunks, position = [], len(_PNG)
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += length + 12
    number = rng.randrange(len(chunks))
    kind, data = chunks[number]
    choice = rng.random()
    if choice < 0.2:
        chunks.insert(rng.randrange(len(chunks)), chunks.pop(number))
    elif choice < 0.4:
        chunks[number : number + 1] = [chunks[number]] * rng.choice((0, 2, 3))
    elif choice < 0.7 and (start := _zlib_start(data)) is not None:
        chunks[number] = (kind, data[:start] + zlib.compress(change(zlib.decompress(data[start:]))))
    else:
        chunks[number] = (kind, change(data))
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _zlib_start(data: bytes) -> int | None:
    """Return where compressed data begins in a chunk: in IDAT, fdAT, zTXt, iTXt or iCCP."""
    start = data.find(b"\x78")
    return None if start < 0 or start > 64 else start


def _zip(content: bytes, change: Change, poison: Change, rng: random.Random) -> bytes:
    """Change one member, mostly the pickle, or repeat or leave one out."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    pickles = [number for number, (name, _) in enumerate(members) if name.endswith(".pkl")]
    number = rng.choice(pickles) if pickles and rng.random() < 0.8 else rng.randrange(len(members))
    name, data = members[number]
    if number in pickles and rng.random() < 0.5:
        members[number] = (name, poison(data))
    elif rng.random() < 0.15:
        members[number : number + 1] = [members[number]] * rng.choice((0, 2))
    elif rng.random() < 0.15:
        members[number] = (change(name.encode()).decode("latin-1") or "x", data)
    else:
        members[number] = (name, change(data))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def _safetensors(content: bytes, change: Change, rng: random.Random) -> bytes:
    """Change the header's JSON, as text or as values, and make its length right."""
    (length,) = struct.unpack_from("<Q", content)
    header, rest = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.5:
        header = change(header)
    else:
        entries = json.loads(header)
        name = rng.choice(list(entries))
        value = rng.choice((None, [], {}, "", -1, 1e400, {"dtype": "F32"}, [0, 2**63], "\ud800", entries.get("x")))
        key = rng.choice(("dtype", "shape", "data_offsets", None))
        if key is None:
            entries[name] = value
        else:
            entries[name][key] = value
        header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + rest
