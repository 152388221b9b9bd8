"""Options of `supertile upscale` that change nothing for the files at hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from ..images.io.animation import ANIMATION_SUFFIXES
from ..images.io.formats import ImageFormat
from ..video.kinds import VIDEO_SUFFIXES, is_pattern

if TYPE_CHECKING:
    from ..images.jobs import FileJob

_OF_ENCODERS = ("--codec", "--preset", "--pixel-format")
_OF_PARTS = ("--restart", "--keep-partial", "--cluster")
_OF_VIDEOS = (*_OF_ENCODERS, "--start", "--end", "--frame-rate", "--deinterlace", *_OF_PARTS)
_LOSSLESS = (ImageFormat.PNG, ImageFormat.TIFF)


def without_effect(
    images: Sequence[FileJob],
    videos: Sequence[FileJob],
    given: Collection[str],
    *,
    codec: str,
    tile: int | str,
    seamless: bool,
    model: str | None,
) -> Iterator[str]:
    """Yield a sentence about options that change nothing for these files.

    Args:
        images, videos: the files.
        given: the options on the command line.
        codec, tile, model: values of these options.
        seamless: True if the image wraps around, at which whole images have an overlap too.
    """
    if not videos:
        yield from _sentence(_OF_VIDEOS, given, "there is no video among the files")
    else:
        yield from _for_videos(videos, given, codec)
        if "--mask" in given:
            yield "--mask is for images; the videos are upscaled as a whole."
    if not images:
        yield from _sentence(["--format"], given, "there is no image among the files")
    lossless = _without_quality(images, videos, codec)
    if lossless:
        yield from _sentence(["--quality"], given, lossless)
    if all(is_pattern(job.target) for job in (*images, *videos)):
        yield from _sentence(["--keep-times"], given, "numbered images have no single source")
    if "--devices" in given:
        yield from _sentence(["--device"], given, "--devices names the devices")
    if tile == "whole" and not seamless:
        yield from _sentence(["--overlap"], given, "--tile whole makes no tiles")
    if model is None:
        yield from _sentence(["--models"], given, "it is the folder in which --model is looked for")


def _for_videos(videos: Sequence[FileJob], given: Collection[str], codec: str) -> Iterator[str]:
    encoded = [job for job in videos if _is_encoded(job)]
    if not encoded:
        written = "numbered images" if is_pattern(videos[0].target) else "an animation"
        # Codec and pixel format of numbered images are refused.
        names = ["--preset"] if is_pattern(videos[0].target) else _OF_ENCODERS
        yield from _sentence([*names, *_OF_PARTS], given, f"the result is {written}")
    elif codec in ("ffv1", "prores"):
        yield from _sentence(["--preset"], given, f"{codec} has no presets")
    if not any(is_pattern(job.source) for job in videos):
        yield from _sentence(["--frame-rate"], given, "it is for numbered images; videos have times of their own")
    if not any(job.source.suffix.lower() in VIDEO_SUFFIXES for job in videos):
        yield from _sentence(["--deinterlace"], given, "only frames of video files can be interlaced")


def _is_encoded(job: FileJob) -> bool:
    """Return True if a video becomes a video file: neither numbered images nor an animation."""
    return not is_pattern(job.target) and job.target.suffix.lower() not in ANIMATION_SUFFIXES


def _without_quality(images: Sequence[FileJob], videos: Sequence[FileJob], codec: str) -> str:
    """Return why no quality applies to any of the files; "" if one does."""
    kinds: dict[str, None] = {}  # in order
    for job in images:
        if job.format not in _LOSSLESS:
            return ""
        kinds[f"{job.format.value.upper()} images"] = None
    for job in videos:
        suffix = job.target.suffix.lower()
        if is_pattern(job.target):
            kinds["PNG images"] = None
        elif _is_encoded(job) and codec == "ffv1":
            kinds["ffv1 videos"] = None
        elif suffix in (".png", ".apng", ".gif"):
            kinds[f"{'GIF' if suffix == '.gif' else 'PNG'} animations"] = None
        else:
            return ""
    listed = " and ".join(sorted(kinds)).replace("PNG images and TIFF images", "PNG and TIFF images")
    return f"{listed} have none" if "GIF animations" in kinds else f"{listed} are lossless"


def _sentence(names: Collection[str], given: Collection[str], reason: str) -> Iterator[str]:
    found = [name for name in names if name in given]
    if found:
        *most, last = found
        listed, verb = (f"{', '.join(most)} and {last}", "have") if most else (last, "has")
        yield f"{listed} {verb} no effect: {reason}."
