"""`upscale_video`: upscale a video file, or frames from another source, into a video file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..images.framing import Framing
from ..images.size import Size
from .frames import FrameSink, Span, VideoInfo, is_turned
from .parts.finished import FinishedFiles, job_key, link_finished
from .parts.folder import jobs_beside
from .parts.job import JobOptions, PartsJob, plan_job
from .parts.plan import Part
from .parts.task import VideoTask
from .priority import in_background
from .read.open import SourceOptions, open_source
from .read.shared_file import views
from .report import VideoProgress, VideoReport
from .transcode import transcode
from .write.encoder_options import EncoderOptions
from .write.file import VideoWriter
from .write.open import open_target, wants_even_sides

if TYPE_CHECKING:
    from ..inference.cluster.pool import RayPool
    from ..inference.pool import UpscalerPool
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)


def upscale_video(
    source: str | Path | BinaryIO | Iterable[Any],
    target: str | Path,
    upscaler: Upscaler,
    *,
    encoder: EncoderOptions = EncoderOptions(),
    size: Size | str | None = None,
    span: Span = Span(),
    source_options: SourceOptions = SourceOptions(),
    reuse_static: bool = True,
    overwrite: bool = False,
    streams_from: str | Path | BinaryIO | None = None,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[VideoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
    job: JobOptions = JobOptions(),
    pool: UpscalerPool | RayPool | None = None,
    inform: Callable[[str], None] | None = None,
) -> VideoReport:
    """Upscale a video. Decoding, upscaling and encoding overlap, in memory that does not grow with the video's length.

    Args:
        source: path of a video file, of an animation (GIF, APNG, WebP) or of numbered images (`frames/%06d.png`); a
            seekable binary file; or an iterable of RGB frames as `ArrayReader` takes them.
        target: path of an .mp4, .mkv, .mov or .webm file, or of numbered images. It appears when it is complete.
        upscaler: the model with its device and precision.
        encoder: codec, quality, preset, pixel format and bit depth; see `EncoderOptions`.
        size: size of the video as displayed, which is rotated for many videos from phones: "2x", "1920x1080", "4k"
            and so on, as `Size.parse` takes it. None: the model's scale. The model runs on its own result as long as
            that is too small, then one resampling gives the exact size. Pixels keep their shape, or get one that keeps
            the shape of the picture; "fill:" and "pad:" make them square.
        span: seconds from the first frame; frames with start <= time < end are upscaled, and the other streams are cut
            to match.
        source_options: frame rate of images, deinterlacing and choice of the video stream; see `SourceOptions`.
        reuse_static: skip tiles that equal the same tile of the previous frame bit for bit. Does not change results.
        overwrite: replace `target` if it exists. The source is never replaced.
        streams_from: file whose audio, subtitles and other streams are added, for a source without streams of its own
            (images or frames in memory).
        metadata: further tags for the file.
        progress: called in the caller's thread after each upscaled frame.
        cancelled: called before every batch of tiles; when it returns True, the job ends with `Cancelled`. Exceptions
            that it raises are passed on.
        warn: called with one sentence for each property that cannot be kept. Default: the log. The report contains
            these sentences as well.
        job: long videos are computed in parts, which stay when the job is interrupted; the same call goes on from
            there. See `JobOptions`.
        pool: devices that compute such parts instead of `upscaler`, whose settings they share.
        inform: called with sentences about such parts. Default: the log.

    Raises:
        VideoError: the source cannot be read, or the target cannot be written with these options. One sentence.
        SizeError: `size` is not a size.
        UpscaleError: the model cannot take such frames, or memory does not suffice for the smallest tile.
        Cancelled: `cancelled` returned True.
        ValueError: another argument is out of range.

    After any of them, whatever had the target's name is unchanged. Finished parts stay, in a hidden folder beside it.
    """
    warnings: list[str] = []

    def warn_and_keep(sentence: str) -> None:
        if sentence not in warnings:  # as when the source is opened again to continue a job
            warnings.append(sentence)
            (warn or _log.warning)(sentence)

    copy_from: Any = source  # read a second time, for the streams other than the upscaled one
    if hasattr(source, "read") and hasattr(source, "seek"):
        source, copy_from = views(source, 2)  # type: ignore[arg-type]
    frames = open_source(source, source_options, span=span, warn=warn_and_keep)
    try:
        info = frames.info
        even = wants_even_sides(target, info, encoder)
        framing = target_framing(Size.coerce(size), info, upscaler.scale, even=even)
        width, height = framing.size
        if info.stream_index is None:
            copy_from = streams_from
        elif streams_from is not None:
            raise ValueError(f"streams_from is for sources without streams of their own; {info.name} has streams.")
        open_sink = partial(
            open_target,
            target,
            info,
            replace(info.format, width=width, height=height, framing=framing),
            encoder,
            span=span.shifted(info.origin),
            copy_from=copy_from,
            metadata=metadata,
            overwrite=overwrite,
            warn=warn_and_keep,
        )
        opened: list[FrameSink] = []  # filled in the background, so that an interruption finds what it must discard
        try:
            in_background(lambda: opened.append(open_sink()))
            sink = opened[0]
            parts: list[Part] = []
            finished: FinishedFiles | None = None
            if isinstance(source, (str, Path)) and isinstance(sink, VideoWriter):
                task = VideoTask(Path(source), Path(target), framing, encoder, span, source_options, reuse_static)
                if job.numbered and task.source.is_file() and streams_from is None:
                    identity = task.identity(upscaler.identity(), sink.encoding)
                    jobs = job.folder or jobs_beside(task.target)
                    finished = FinishedFiles(jobs, job_key(identity, task.target, metadata))
                    if not job.restart and (earlier := finished.find()) is not None:
                        sink.discard()
                        link_finished(earlier, task.target, overwrite=overwrite, cancelled=cancelled or _never)
                        report = earlier.report(info, task, sink.encoding)
                        finished.add(report)
                        return replace(report, warnings=list(dict.fromkeys([*warnings, *report.warnings])))
                parts = plan_job(task, info, sink.encoding, job.part_seconds)
            if parts:
                sink.discard()  # opened to learn early what is wrong; the join opens it again
                parts_job = PartsJob(
                    task,
                    info,
                    parts,
                    upscaler,
                    metadata=metadata,
                    overwrite=overwrite,
                    options=job,
                    pool=pool,
                    inform=inform or _log.info,
                )
                report = parts_job.run(
                    frames,
                    progress=progress,
                    cancelled=cancelled or _never,
                    warn=warn_and_keep,
                )
            else:
                report = transcode(
                    frames,
                    sink,
                    upscaler,
                    str(target),
                    reuse_static=reuse_static,
                    progress=progress,
                    cancelled=cancelled,
                    warn=warn_and_keep,
                )
        except BaseException:
            for each in opened:
                each.discard()
            raise
    finally:
        frames.close()
    _log.info("%s", report.summary())
    report = replace(report, warnings=warnings)
    if finished is not None:
        finished.add(report)
    return report


def _never() -> bool:
    return False


def target_framing(size: Size, info: VideoInfo, scale: int, *, even: bool = False) -> Framing:
    """Return the size of the frames to be written, as stored, for a display size, and how the source lies in them.

    even: round odd sides to even ones, unless the size is to be stretched to or the shape would suffer.

    Raises:
        SizeError: as `Size.framing`.
    """
    turned, ratio = is_turned(info.display_matrix), Fraction(info.sample_aspect_ratio or 1)
    if turned:
        framing = size.framing(info.height, info.width, scale, pixel_ratio=1 / ratio, even=even).turned()
    else:
        framing = size.framing(info.width, info.height, scale, pixel_ratio=ratio, even=even)
    if even and framing.is_whole and not size.is_exact:
        return Framing.whole(*_even(framing.size, (info.width, info.height)))
    return framing


def _even(size: tuple[int, int], source: tuple[int, int]) -> tuple[int, int]:
    """Return the even size next to `size` that keeps the shape of `source` best, within half a pixel of either."""

    def error(candidate: tuple[int, int]) -> tuple[float, int]:
        return abs(candidate[1] - candidate[0] * source[1] / source[0]), -sum(candidate)

    widths, heights = ((side,) if side % 2 == 0 else (side + 1, max(2, side - 1)) for side in size)
    best = min(((width, height) for width in widths for height in heights), key=error)
    within_source = all(side >= 2 * before for side, before in zip(size, source, strict=True))
    return best if within_source or error(best)[0] <= 0.5 else size
