"""Open the source of a preview: an image, or a few frames spread over a video; and the job that it would become."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

from ..images.io.files import read_image
from ..images.jobs import FileJob, plan_jobs
from ..video.errors import VideoError
from ..video.frame_region import first_frame
from ..video.frames import FrameSource, Span, VideoInfo
from ..video.kinds import VIDEO_SUFFIXES, is_pattern, is_video_job
from ..video.read.open import SourceOptions, open_source
from ..video.transcode import expected_frames
from ..video.write.encoder_options import EncoderOptions
from ..video.write.open import wants_even_sides
from .errors import PreviewError
from .places import choose_places
from .views import FrameView, ImageView, View, luma_of

_LITTLE_DETAIL = 0.02
"""Frames with less in their best place, as in a fade, are passed over."""
_DETAIL_SIDE = 128
_FRAME_RATE = 24  # of numbered images, which have no times
_MAX_SCANNED = 500  # frames of a source of unknown length
_PLACES = (Fraction(1, 2), Fraction(1, 5), Fraction(4, 5))
"""Where in an interval a frame is looked for."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A source that was opened.

    Attributes:
        job: source and target as `supertile upscale` would take them by default.
        views: the image, or the frames in order.
        frames: number of frames of a video, if it is known.
        options: how a video is read.
        icc: color profile of the views.
        notes: sentences about how they are shown.
    """

    job: FileJob
    views: list[View]
    frames: int | None = None
    options: SourceOptions = field(default_factory=SourceOptions)
    icc: bytes | None = None
    notes: tuple[str, ...] = ()


def open_views(source: Path, count: int, span: Span, warn: Callable[[str], None]) -> Opened:
    """Open an image, or `count` frames of a video.

    Args:
        source: an image, a video, an animation or numbered images.
        count: of frames.
        span: in which frames are taken.
        warn: called with sentences about a video.

    Raises:
        PreviewError: the source is a folder.
        PlanError, ImageFileError, VideoError, ValueError: it cannot be read.
    """
    if source.is_dir():
        raise PreviewError(f"{source} is a folder; name one image or video in it.")
    job = _job(source)
    if not is_video_job(job.source, job.target):
        picture = read_image(source)
        icc = picture.icc if picture.color.shape[0] == 3 else None
        return Opened(job, [ImageView(picture)], icc=icc)
    options = SourceOptions(frame_rate=_FRAME_RATE) if is_pattern(source) else SourceOptions()
    with closing(open_source(source, options, span=span, warn=warn)) as frames:
        info = frames.info
        expected = expected_frames(info)
        length = None if info.duration is None else info.duration * info.time_base
        if length is None:
            length, expected = _scanned(frames)
    even = wants_even_sides(job.target, info, EncoderOptions())
    views: list[View] = list(_frames(source, info, length, count, options, even=even))
    notes = ("The video is HDR and shown as coded, so it looks flat here.",) if info.color.hdr else ()
    return Opened(job, views, expected, options, notes=notes)


def _scanned(frames: FrameSource) -> tuple[Fraction, int | None]:
    """Return the length in seconds and the number of frames of a source that declares neither, or of its beginning."""
    count, end = 0, Fraction(0)
    for frame in islice(frames, _MAX_SCANNED):
        count += 1
        end = (frame.pts + frame.duration - frames.info.start_pts) * frames.info.time_base
    return end, count if count < _MAX_SCANNED else None


def _job(source: Path) -> FileJob:
    """Return the job of a source in its own format, beside it."""
    if is_pattern(source):
        return FileJob(source, source.with_name(f"upscaled-{source.name}"))
    [job] = plan_jobs([source], f"{source.parent}/upscaled/", video_suffixes=VIDEO_SUFFIXES)
    return job


def _frames(
    source: Path, info: VideoInfo, length: Fraction, count: int, options: SourceOptions, *, even: bool
) -> list[FrameView]:
    """Return frames spread over the source: of each interval that in its middle, or another if that shows nothing."""
    start = info.start_pts * info.time_base - info.origin
    half_frame = 1 / (2 * info.frame_rate) if info.frame_rate else Fraction(0)
    found: list[FrameView] = []
    for number in range(count):
        best: tuple[float, FrameView] | None = None
        for place in _PLACES:
            seconds = start + max(Fraction(0), (number + place) * length / count - half_frame)
            end = None if options.frame_rate is None else seconds + Fraction(2, _FRAME_RATE)  # else all are looked at
            try:
                still = first_frame(source, Span(seconds, end), source_options=options, warn=_silent)
            except VideoError:  # damaged there, or a last frame that lasts long
                continue
            view = FrameView(still, even)
            if any(view.seconds == each.seconds for each in found):  # of a short video
                continue
            detail = choose_places(luma_of(view), 1, _DETAIL_SIDE)[0][1]
            if best is None or detail > best[0]:
                best = detail, view
            if detail > _LITTLE_DETAIL:
                break
        if best is not None:
            found.append(best[1])
    if not found:
        found = [FrameView(first_frame(source, Span(start), source_options=options, warn=_silent), even)]
    return sorted(found, key=lambda view: view.seconds)


def _silent(_: str) -> None:
    """Leave a warning out, which opening the whole source gave."""
