"""What can go wrong with a video, in words for the person who gave it."""

from __future__ import annotations

from ..errors import SupertileError


class VideoError(SupertileError, ValueError):
    """A video that cannot be read, or written as asked. The message is one sentence that names the file."""
