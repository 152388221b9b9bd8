"""Pickled calls that show whether a reader of checkpoints runs what a file says.

Each makes one folder, the canary, in a way that Python's own unpickler follows. Each leaves the stack as it was, so it
can stand between any two opcodes of a pickle.
"""

from __future__ import annotations

import io
import pickletools
import random
from collections.abc import Callable
from pathlib import Path


def canary(folder: Path) -> Path:
    """Return the folder that appears if code in a checkpoint made in `folder` was run."""
    return folder / "code-was-run"


def calls(folder: Path) -> dict[str, bytes]:
    """Return calls that make the canary of `folder`, by what they use."""
    path = _text(str(canary(folder)))
    code = _text(f'__import__("os").mkdir("{canary(folder)}")')
    return {
        "reduce": b"cos\nmkdir\n(" + path + b"tR0",
        "shell": b"cposix\nsystem\n(" + _text(f"mkdir {canary(folder)}") + b"tR0",
        "stack global": b"\x8c\x02os\x8c\x05mkdir\x93(" + path + b"tR0",
        "instance": b"(" + path + b"ios\nmkdir\n0",
        "object": b"(cos\nmkdir\n" + path + b"o0",
        "eval": b"cbuiltins\neval\n(" + code + b"tR0",
        "getattr": b"cbuiltins\ngetattr\n(cos\nmkdir\n" + _text("__call__") + b"tR(" + path + b"tR0",
        "method of a harmless class": b"\x8c\x07pathlib\x8c\x0aPath.mkdir\x93(cpathlib\nPath\n(" + path + b"tRtR0",
        "function of torch": b"ctorch.serialization\nos.mkdir\n(" + path + b"tR0",
        "state": b"ctypes\nSimpleNamespace\n)R}" + _text("key") + b"cos\nmkdir\n(" + path + b"tRsb0",
    }


def _text(text: str) -> bytes:
    """Return the opcode that pushes a text."""
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


def with_call(pickled: bytes, call: bytes, rng: random.Random) -> bytes:
    """Insert a call between two opcodes of a pickle, or of several in a row; what follows them stays."""
    stream, positions = io.BytesIO(pickled), []
    try:
        while len(positions) < 100_000:
            positions += [position for _, _, position in pickletools.genops(stream)][1:]
    except (ValueError, IndexError):  # the end of the pickles
        pass
    at = rng.choice(positions) if positions else 0
    return pickled[:at] + call + pickled[at:]


def poisoner(folder: Path) -> Callable[[bytes, random.Random], bytes]:
    """Return a function that inserts one of the calls, at random, into a pickle."""
    snippets = list(calls(folder).values())
    return lambda pickled, rng: with_call(pickled, rng.choice(snippets), rng)
