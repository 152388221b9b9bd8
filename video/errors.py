"""What can go wrong with a video, in words for the person who gave it."""

from __future__ import annotations


class VideoError(ValueError):
    """A video that cannot be read, or written as asked. The message is one sentence that names the file."""
