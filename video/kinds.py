"""Recognize videos and numbered images by their file names."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from ..images.io.animation import ANIMATION_SUFFIXES, is_animated

_WRITTEN_AS_THEY_ARE = (".mp4", ".mkv", ".mov", ".webm")
_OTHERS = (
    ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2",
    ".ogv", ".ogm", ".mxf", ".rm", ".rmvb", ".divx", ".dv", ".nut", ".y4m", ".mjpeg", ".mjpg", ".h264", ".264",
    ".h265", ".265", ".hevc", ".ivf", ".obu",
)  # fmt: skip

# Suffix of a source -> suffix of its result if no target name is given. Matroska holds the streams of all others.
VIDEO_SUFFIXES = MappingProxyType(
    {suffix: suffix for suffix in _WRITTEN_AS_THEY_ARE} | {".m4v": ".mp4"} | dict.fromkeys(_OTHERS, ".mkv")
)


# The placeholder of a number in a file name: %d, or %06d.
NUMBER = re.compile(r"%(?:0(\d+))?d")


def is_pattern(path: str | Path) -> bool:
    """Return True for a pattern of numbered files such as frames/%06d.png, unless a file has that very name."""
    return len(NUMBER.findall(Path(path).name)) == 1 and not Path(path).exists()


def is_video_job(source: Path, target: Path) -> bool:
    """Return True if `upscale_video` makes `target` from `source`, False if it is a single image."""
    suffixes = (source.suffix.lower(), target.suffix.lower())
    if target.suffix.lower() in ANIMATION_SUFFIXES and is_animated(source):
        return True
    return any(suffix in VIDEO_SUFFIXES for suffix in suffixes) or is_pattern(source) or is_pattern(target)
