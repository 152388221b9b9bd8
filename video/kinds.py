"""Which files are videos or numbered images, by their names."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

_WRITTEN_AS_THEY_ARE = (".mp4", ".mkv", ".mov", ".webm")
_OTHERS = (
    ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2",
    ".ogv", ".ogm", ".mxf", ".rm", ".rmvb", ".divx", ".dv", ".nut", ".y4m", ".mjpeg", ".mjpg", ".h264", ".264",
    ".h265", ".265", ".hevc", ".ivf", ".obu",
)  # fmt: skip

# Suffix of a source -> suffix of its result where no name is given: Matroska holds whatever was in the others.
VIDEO_SUFFIXES = MappingProxyType(
    {suffix: suffix for suffix in _WRITTEN_AS_THEY_ARE} | {".m4v": ".mp4"} | dict.fromkeys(_OTHERS, ".mkv")
)


# The number in a name that stands for numbered files: %d, or %06d.
NUMBER = re.compile(r"%(?:0(\d+))?d")


def is_pattern(path: str | Path) -> bool:
    """Whether a name stands for numbered files, as frames/%06d.png does; a file of just that name goes first."""
    return len(NUMBER.findall(Path(path).name)) == 1 and not Path(path).exists()


def is_video_job(source: Path, target: Path) -> bool:
    """Whether making `target` from `source` is work for `upscale_video` rather than for one image."""
    suffixes = (source.suffix.lower(), target.suffix.lower())
    return any(suffix in VIDEO_SUFFIXES for suffix in suffixes) or is_pattern(source) or is_pattern(target)
