"""A network's tensors -> a safetensors file that is complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .errors import CheckpointError


def write_safetensors(target: Path, state: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside the target, then rename. Raises CheckpointError where nothing can be written."""
    from safetensors.torch import save_file

    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent or ".", prefix=f".{target.name}.", suffix=".part")
        os.close(handle)
        try:
            # Tied tensors would be refused; a network's file holds each under its own name.
            save_file({n: t.clone().contiguous() for n, t in state.items()}, temporary, metadata)
            os.chmod(temporary, 0o666 & ~_umask())
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CheckpointError(target, f"it cannot be written ({error.strerror or error})") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
