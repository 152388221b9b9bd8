"""Recognize videos and numbered images by their file names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

from ..images.io.animation import ANIMATION_SUFFIXES, is_animated
from ..images.jobs import FileJob

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
    """Return True for a pattern of numbered images such as frames/%06d.png, unless a file has that very name."""
    path = Path(path)
    return (
        len(NUMBER.findall(path.name)) == 1 and path.suffix.lower() not in VIDEO_SUFFIXES and not os.path.lexists(path)
    )


def is_video_job(source: Path, target: Path) -> bool:
    """Return True if `upscale_video` makes `target` from `source`, False if it is a single image.

    A target that has the name of its source, "100%done.png", is no pattern.
    """
    if target.suffix.lower() in ANIMATION_SUFFIXES and is_animated(source):
        return True
    if any(path.suffix.lower() in VIDEO_SUFFIXES for path in (source, target)) or is_pattern(source):
        return True
    named_alike = NUMBER.search(source.stem) and target.name.startswith(source.stem)
    return is_pattern(target) and not named_alike


def split_jobs(jobs: Iterable[FileJob]) -> tuple[list[FileJob], list[FileJob]]:
    """Return the jobs of images, for `upscale_image_files`, and those of videos, for `upscale_video_files`."""
    images: list[FileJob] = []
    videos: list[FileJob] = []
    for job in jobs:
        (videos if is_video_job(job.source, job.target) else images).append(job)
    return images, videos
