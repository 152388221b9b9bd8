"""A mask in an image file, for one image or for many, in this process or in others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from .io.errors import ImageFileError
from .io.files import read_image


def read_mask(path: str | Path) -> Tensor:
    """Read a mask from an image file, (H, W) in [0, 1]: white is 1, black and transparent are 0.

    Raises:
        ImageFileError: as `read_image`.
    """
    picture = read_image(path)
    mask = picture.color.mean(0)
    return mask if picture.alpha is None else mask * picture.alpha[0]


@dataclass(frozen=True)
class MaskFile:
    """A mask for many images, by its file; a value that travels to other processes.

    Attributes:
        path: the file.
        hash: SHA-256 of its contents, in hexadecimal.
    """

    path: Path
    hash: str

    @classmethod
    def at(cls, path: str | Path | None) -> MaskFile | None:
        """Return the mask of a file, None for None. Raises ImageFileError if it cannot be read as an image."""
        if path is None:
            return None
        read_mask(path)
        try:
            return cls(Path(path), hashlib.sha256(Path(path).read_bytes()).hexdigest())
        except OSError as error:
            raise ImageFileError(f"{path} cannot be read: {error.strerror}.") from error

    def read(self) -> Tensor:
        """Return the mask, (H, W) in [0, 1]; read once in a process. Raises ImageFileError."""
        return _read_once(self)


@lru_cache(maxsize=1)
def _read_once(file: MaskFile) -> Tensor:
    return read_mask(file.path)
