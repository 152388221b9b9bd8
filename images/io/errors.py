"""The error and the warning of image files."""

from __future__ import annotations

from ...errors import SupertileError


class ImageFileError(SupertileError):
    """An image file cannot be read or written. The message is one sentence that names the file."""


class ImageFileWarning(UserWarning):
    """Something of an image file is not kept: further frames, a color profile, transparency in a JPEG."""
