"""The errors of reading checkpoints, one class for each thing that a user can do about it.

Nothing else leaves `weights`: errors of torch, json, zipfile and the operating system are always the `__cause__` of one
of these. They know nothing of how a file is read; `files.py` and `loader.py` raise them.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SupertileError


class CheckpointError(SupertileError):
    """A checkpoint that cannot be used. `str()` is one sentence: which file, what is wrong, what to do.

    `problem` completes the sentence "Cannot load FILE: ...", without a full stop. `path` is None where the tensors did
    not come from a file, as in a state dict that another program has loaded.
    """

    def __init__(self, path: str | Path | None, problem: str) -> None:
        super().__init__(path, problem)  # both in args, so that the error survives pickling between processes
        self.path = None if path is None else Path(path)
        self.problem = problem.rstrip(".")

    def __str__(self) -> str:
        end = "" if self.problem.endswith("?") else "."
        return f"Cannot load {self.path or 'this state dict'}: {self.problem}{end}"


class UnreadableCheckpointError(CheckpointError):
    """Missing, empty, truncated, damaged, or no checkpoint at all; also a file that claims more than it holds."""


class UnsafeCheckpointError(CheckpointError):
    """A file that would run code when opened: a pickle that calls functions, or a TorchScript archive."""


class NotAModelError(CheckpointError):
    """A readable file without a network in it: training state, a LoRA, no tensors."""


class UnknownArchitectureError(CheckpointError):
    """A network, but of no known architecture."""


class WrongTensorsError(CheckpointError):
    """A network of a known architecture with missing tensors, unexpected tensors or wrong shapes."""


class CombinationError(SupertileError):
    """Models that cannot be chained or blended. The message is one sentence."""
